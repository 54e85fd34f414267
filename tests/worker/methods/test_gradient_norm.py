"""`max_gradient_norm` holds in every training loop: no step is longer than the rate times it."""

import pytest
import torch
from safetensors.torch import load_file

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting

MOST, RATE, EPOCHS = 0.01, 0.5, 2
PLAIN = {"optimizer": "sgd", "momentum": 0.0, "scheduler": "constant", "weight_decay": 0.0, "learning_rate": RATE}
COMMON = {"epochs": EPOCHS, "batch_size": 8, "max_gradient_norm": MOST} | PLAIN


@pytest.mark.parametrize(
    "method",
    [
        {"name": "fine_tune", "frozen_epochs": 0, "backbone_factor": 1.0},
        {"name": "dann", "selection": "last"},
        {"name": "erm", "environments": ["ds_one1", "ds_two2"], "selection": "last"},
        {"name": "shot", "selection": "last"},
    ],
    ids=lambda method: method["name"],
)
def test_weights_go_no_further_than_the_steps_allow(tmp_path, method):
    source, data = tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "data", 10)
    environments = {id_: tasks.dataset(tmp_path / id_, 10, seed=i) for i, id_ in enumerate(("ds_one1", "ds_two2"), 1)}
    case = Setting(
        method | COMMON, source, data, tasks.dataset(tmp_path / "other", 10, seed=5), environments=environments
    )
    after, before = tasks.run(case, tmp_path / "run").weights, load_file(source[1])
    learned = [name for name in before if "running" not in name and "tracked" not in name]
    moved = torch.cat([(after[name] - before[name]).flatten() for name in learned]).norm()
    steps = EPOCHS * 5
    assert 0 < moved <= steps * RATE * MOST * 1.001
