"""The Fisher information of a softmax and of sigmoids on linear scores is known in closed form."""

import pytest
import torch
from torch import nn

from worker.methods.fusion.fisher import information

IMAGES, D, K = 4000, 3, 4


@pytest.fixture
def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(D, K))


@pytest.mark.parametrize("multi_label", [False, True], ids=["one label", "several labels"])
def test_it_is_the_closed_form_of_a_linear_network(linear, multi_label):
    """E[(∂ log p / ∂W)²] = E[p_k (1 − p_k) x_d²], in both cases."""
    x_ND = torch.randn(IMAGES, D, generator=torch.Generator().manual_seed(1))
    draws = torch.Generator().manual_seed(2)
    found = information(linear, iter(x_ND[:, None, :, None].split(1)), draws, multi_label=multi_label)
    with torch.no_grad():
        scores_NK = linear(x_ND)
        p_NK = scores_NK.sigmoid() if multi_label else scores_NK.softmax(1)
        variance_NK = p_NK * (1 - p_NK)
        expected_KD = torch.einsum("nk,nd->kd", variance_NK, x_ND.square()) / IMAGES
    torch.testing.assert_close(found["1.weight"], expected_KD, rtol=0.15, atol=0)
    torch.testing.assert_close(found["1.bias"], variance_NK.mean(0), rtol=0.15, atol=0)
