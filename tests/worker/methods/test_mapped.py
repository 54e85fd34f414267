"""Where memory is not to hold a job's images, they are mapped, and the job is the same, byte for byte."""

import pytest

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting

COMMON = {"epochs": 2, "batch_size": 8}


@pytest.mark.parametrize(
    "method",
    [
        {"name": "fine_tune", **COMMON},
        {"name": "linear_probe", **COMMON},
        {"name": "vicreg", "hidden": 16, "dimensions": 8, **COMMON},
        {"name": "shot", "epochs": 2, "batch_size": 8},
    ],
    ids=lambda method: method["name"],
)
def test_mapped_and_resident_images_give_the_same_bytes(tmp_path, monkeypatch, method):
    case = Setting(method, tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "data", 10))
    resident = tasks.run(case, tmp_path / "resident")
    mapped = tasks.run(case, tmp_path / "mapped", resident_bytes=1)
    assert mapped.trace == resident.trace
    assert mapped.document == resident.document
