"""Features of the same weights and the same images are computed once, whoever asks, and that changes nothing else."""

import pytest
import torch

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting

PROBE = {"name": "linear_probe", "epochs": 2, "batch_size": 8}
TRAIN, VALIDATION, TEST = 40, 20, 20


@pytest.fixture
def origin(tmp_path):
    return tasks.source(tmp_path / "source")


@pytest.fixture
def data(tmp_path):
    return tasks.dataset(tmp_path / "data", 10)


@pytest.fixture
def go(tmp_path, origin, data):
    numbers = iter(range(100))

    def go(method, source=origin, target=data, cache=tmp_path / "cache", **setting):
        return tasks.run(Setting(method, source, target, **setting), tmp_path / f"run{next(numbers)}", cache=cache)

    return go


def entries(folder):
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


@pytest.mark.parametrize("second", [PROBE, {"name": "svm"}, {"name": "knn"}, {"name": "lp_ft", "epochs": 1}])
def test_a_second_probe_of_the_same_pair_recomputes_nothing(go, tmp_path, second):
    with tasks.counted() as without:
        go(second, cache=None)
    go(PROBE)
    before = entries(tmp_path / "cache")
    with tasks.counted() as with_cache:
        go(second)
    assert without[0] - with_cache[0] == TRAIN + VALIDATION
    assert entries(tmp_path / "cache") == before
    assert len(before) == 2


@pytest.mark.parametrize("method", [PROBE, {"name": "svm"}, {"name": "random_forest", "trees": 5}], ids=str)
def test_a_cold_and_a_warm_cache_and_none_give_the_same_bytes(go, method):
    cold, warm, none = go(method), go(method), go(method, cache=None)
    assert cold.document == warm.document == none.document
    weights = [one.weights_file.read_bytes() for one in (cold, warm, none)]
    assert weights[0] == weights[1] == weights[2]


def test_a_broken_entry_is_computed_again(go, tmp_path):
    whole = go(PROBE)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    again = go(PROBE)
    assert again.sha256 == whole.sha256
    with tasks.counted() as third:
        go(PROBE)
    with tasks.counted() as none:
        go(PROBE, cache=None)
    assert none[0] - third[0] == TRAIN + VALIDATION


def test_large_label_budgets_share_the_whole_split(go, tmp_path):
    """A quarter of the images or more: all budgets and all seeds; fewer: each its own images."""
    go(PROBE)
    for seed in (1, 2):
        go(PROBE | {"labels_per_class": 2}, seed=seed)
        go(PROBE | {"train_size": 10}, seed=seed)
    assert len(entries(tmp_path / "cache")) == 2
    go(PROBE | {"train_size": 9})
    assert len(entries(tmp_path / "cache")) == 3  # 9 of 40 to learn from; 9 of 20 to validate on are enough


def test_a_budgets_features_are_those_of_its_own_images(go):
    """The whole split is computed, but only what the budget admits is seen."""
    budget = PROBE | {"labels_per_class": 2}
    cold, none = go(budget), go(budget, cache=None)
    assert cold.sha256 == none.sha256
    assert "20 training labels and 20 validation" in cold.document["evaluation"]["labels_used"]


def test_other_weights_other_pixels_another_contract_are_other_features(go, tmp_path):
    go(PROBE)
    changes = (
        lambda: go(PROBE, source=tasks.source(tmp_path / "other", seed=2)),
        lambda: go(PROBE, target=tasks.dataset(tmp_path / "pixels", 10, seed=5)),
        lambda: go(PROBE | {"input": {"margin": 1}}),
    )
    for number, change in enumerate(changes, start=2):
        change()
        assert len(entries(tmp_path / "cache")) == 2 * number


def test_other_labels_are_not(go, tmp_path, data):
    """Features know no labels: the same pixels under other class names."""
    go(PROBE)
    renamed = tasks.Data({**data.document, "classes": [f"class {k}" for k in range(10)]}, data.pixels, data.index)
    go(PROBE, target=renamed)
    assert len(entries(tmp_path / "cache")) == 2


def test_a_tuned_network_is_another(go, tmp_path, origin):
    """Two sources of one architecture, of which one was tuned from the other."""
    tuned = go({"name": "fine_tune", "epochs": 1, "frozen_epochs": 0}, cache=None)
    go(PROBE)
    go(PROBE, source=(origin[0], tuned.weights_file))
    assert len(entries(tmp_path / "cache")) == 4


def test_threads_are_part_of_it(go, tmp_path):
    """Sums are split by thread: what was computed with one may differ in its last bits from what two compute."""
    go(PROBE)
    torch.set_num_threads(2)
    go(PROBE)
    assert len(entries(tmp_path / "cache")) == 4
