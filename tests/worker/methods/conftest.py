import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Sums are split by thread: golden traces and equal bytes are for one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
