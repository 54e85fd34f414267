from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.ingest.ingested import Ingested, run

Ingest = Callable[..., Ingested]


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    """`ingest(data, **payload)` reads the bytes of an uploaded file as a worker does."""
    numbers = iter(range(1000))
    return lambda data, **payload: run(tmp_path / str(next(numbers)), data, **payload)
