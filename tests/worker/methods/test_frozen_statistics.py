"""Batch norm's statistics, which a tuning adapts or keeps."""

import pytest
from safetensors.torch import load_file

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting


@pytest.mark.parametrize("more", [{}, {"trainable": "last_stages", "augmentation": "none"}, {"unfreeze_every": 1}])
@pytest.mark.parametrize("batch_norm", ["adapted", "frozen"])
def test_frozen_batch_norm_keeps_its_statistics_bit_for_bit(tmp_path, batch_norm, more):
    source = tasks.source(tmp_path / "source")
    method = {"name": "fine_tune", "epochs": 2, "batch_size": 20, "frozen_epochs": 0, "batch_norm": batch_norm} | more
    outcome = tasks.run(Setting(method, source, tasks.dataset(tmp_path / "target", 10)), tmp_path / "run")
    before, after = load_file(source[1]), outcome.weights
    statistics = "block.1.running_mean", "block.1.running_var", "block.1.num_batches_tracked"
    kept = [bool((before[name] == after[name]).all()) for name in statistics]
    assert kept == [batch_norm == "frozen"] * 3
    assert not (before["block.1.weight"] == after["block.1.weight"]).all()  # scale and shift learn
