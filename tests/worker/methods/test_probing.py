"""A linear head on features that are computed once."""

import numpy as np
import pytest

from tests.worker.methods import tasks


@pytest.mark.parametrize("name", ["linear_probe", "lp_ft"])
def test_probes_without_validation_images(tmp_path, name):
    target = tasks.dataset(tmp_path / "target", classes=10)
    with np.load(target.index) as index:
        arrays = dict(index)
    arrays["split"][arrays["split"] == 1] = 0
    np.savez(target.index, **arrays)
    setting = tasks.Setting({"name": name, "epochs": 2}, tasks.source(tmp_path / "source"), target)
    found = tasks.run(setting, tmp_path / "run")
    assert "60 training labels and 0 validation labels" in found.document["evaluation"]["labels_used"]
