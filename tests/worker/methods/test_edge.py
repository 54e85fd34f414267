"""What stays frozen is computed once where every epoch sees the same pixels, and the training is the same."""

import pytest
import torch

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runtime.contract import Note
from worker.training import frozen_prefix

LAST = {"name": "fine_tune", "trainable": "last_stages", "augmentation": "none", "epochs": 4, "batch_size": 8}
GRADUALLY = LAST | {"unfreeze_every": 1, "stages": 1, "average": 0.9}
TRAIN, VALIDATION = 40, 20


@pytest.fixture
def go(tmp_path):
    source, data = tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "data", 10)
    numbers = iter(range(100))
    return lambda method, **changes: tasks.run(
        Setting(method, source, data), tmp_path / f"run{next(numbers)}", **changes
    )


def once(outcome):
    return any(note.type == "frozen_once" for note in outcome.recorder.of(Note))


@pytest.mark.parametrize(
    "method",
    [
        LAST,
        GRADUALLY,
        LAST | {"optimizer": "adamw", "class_weights": "balanced", "sampling": "balanced"},
        LAST | {"micro_batch_size": 4, "label_smoothing": 0.1},
        {"name": "feature_transfer", "stages": 1, "augmentation": "none", "epochs": 4, "batch_size": 8},
    ],
    ids=["last", "gradually", "weighed", "parts", "feature_transfer"],
)
def test_losses_and_weights_are_those_of_the_whole_network(go, monkeypatch, method):
    cached = go(method)
    monkeypatch.setattr(frozen_prefix, "MOST_BYTES", 0)
    whole = go(method)
    assert once(cached)
    assert not once(whole)
    assert cached.trace == pytest.approx(whole.trace, abs=1e-6)
    for series in ("accuracy", "nll"):
        found, expected = (one.recorder.series(series, "validation") for one in (cached, whole))
        assert found == pytest.approx(expected, abs=1e-6)
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(cached.weights[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def test_the_frozen_layers_see_every_image_once(go, monkeypatch):
    with tasks.counted() as cached:
        go(LAST)
    monkeypatch.setattr(frozen_prefix, "MOST_BYTES", 0)
    with tasks.counted() as whole:
        go(LAST)
    assert whole[0] - cached[0] == (LAST["epochs"] - 1) * (TRAIN + VALIDATION)


def test_a_second_job_computes_none_of_it(go, tmp_path):
    cache = tmp_path / "cache"
    with tasks.counted() as first:
        go(LAST, cache=cache)
    with tasks.counted() as second:
        go(LAST | {"learning_rate": 0.05}, cache=cache)
    assert first[0] - second[0] == TRAIN + VALIDATION


@pytest.mark.parametrize(
    "change",
    [
        {"augmentation": [{"name": "horizontal_flip"}]},
        {"mixing": {"name": "mixup"}},
        {"terms": [{"name": "l2_sp"}]},
        {"trainable": "all"},
        {"epochs": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_where_it_would_not_be_the_same_nothing_is_kept(go, change):
    assert not once(go(LAST | change))
