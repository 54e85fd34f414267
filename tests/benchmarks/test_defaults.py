"""The benchmark of the defaults: what it measures, what it keeps, and what it says of that."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import default_pairs as pairs
import defaults
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from contest import plan
from default_pairs import Places, Weights
from defaults import Bench
from worker.networks import build

PAIR = "digits → optdigits"


@pytest.fixture
def places(tmp_path) -> Places:
    """With a source whose weights were drawn, and digits that come with scikit-learn."""
    nowhere = Path("/nowhere")
    places = Places(tmp_path, nowhere, nowhere, nowhere, nowhere, nowhere, nowhere)
    spec, input = NetworkSpec.model_validate(plan.large(10)), InputSpec.model_validate(plan.MNIST_INPUT)
    torch.manual_seed(0)
    weights = Weights(spec, input, [str(k) for k in range(10)], dict(build.build(spec, input).state_dict()))
    pairs.write(weights, tmp_path / "sources" / "digits-16.safetensors")
    return places


def test_labels_are_drawn_from_a_pool_and_settings_are_tried_within_it(places):
    _, split = pairs._read(pairs.packed(PAIR, places))
    assert np.bincount(split).tolist() == [800, 200, 797]
    pictures, tuned = pairs._read(pairs.tuning(PAIR, places, 80, 100))
    assert np.bincount(tuned).tolist() == [600, 130, 270]
    assert np.bincount(pictures.label[tuned == pairs.TRAIN]).tolist() == [60] * 10
    assert len({str(one) for one in defaults.tries()}) == 18


def test_what_is_measured_is_kept_as_long_as_it_hangs_on_the_same(places):
    cell = defaults.default(PAIR, "linear_probe", 5, 0)
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(places, pool, places.work / "ledger.jsonl")
        assert bench.get(cell) is None
        bench.measure([cell])
        bench.measure([cell])
        found = bench.get(cell)
        assert found is not None
        assert 0.05 < found < 1
        assert len((places.work / "ledger.jsonl").read_text().splitlines()) == 1
        again = Bench(places, pool, places.work / "ledger.jsonl")
        assert again.get(cell) == found
        assert again.get(defaults.default(PAIR, "linear_probe", 5, 1)) is None
        said = defaults.tried(PAIR, {"learning_rate": 0.1}, 5, 0, tuning=False)
        assert again.get(said) is None
        assert again.figures(PAIR, 5) == {}


def test_the_report_tells_who_is_below():
    """Fine-tuning is 1 point below scratch, sure of it, and 2 above the probe."""
    arms = {"fine_tune": [0.80, 0.81, 0.82], "train": [0.81, 0.82, 0.83], "linear_probe": [0.77, 0.79, 0.81]}
    lines = defaults.report({("a → b", 5): arms}).splitlines()
    assert lines[2] == "| a → b | 5 | 81.0 | 82.0 | 79.0 | – |"
    assert lines[-2:] == [
        "- less scratch: -1.0 points in the mean of 1; below by more than the interval: 1",
        "- less the probe: +2.0 points in the mean of 1; below by more than the interval: 0",
    ]
