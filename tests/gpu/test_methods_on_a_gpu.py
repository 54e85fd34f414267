"""Every method on a GPU: it learns what it learns on the CPU, and can be interrupted and resumed.

Needs all that the worker needs, and a GPU; without one there is nothing to test here.
"""

import json
import statistics

import pytest
import torch

from tests.worker.methods import tasks
from tests.worker.methods.test_conformance import GOLDEN, TRAINING, VARIANTS, at, each, setting
from worker.runtime.contract import Interrupted

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

ON = {"device": "cuda"}
REST = [variant for variant in VARIANTS if variant not in TRAINING]


def losses(variant):
    """The mean training loss of the CPU: crops, masks and mixtures are drawn on the device, and differ there."""
    return statistics.fmean(json.loads((GOLDEN / f"{variant}.json").read_text()))


@pytest.mark.parametrize("variant", each(TRAINING))
def test_it_learns(tmp_path, variant):
    outcome = tasks.run(setting(tmp_path, variant), tmp_path / "run", **ON)
    assert statistics.fmean(outcome.trace) == pytest.approx(losses(variant), rel=0.3)
    assert all(tensor.isfinite().all() for tensor in outcome.weights.values() if tensor.is_floating_point())


@pytest.mark.parametrize("variant", each(REST))
def test_it_ends(tmp_path, variant):
    if variant == "quantize":
        pytest.importorskip("openvino")
    there = tasks.run(setting(tmp_path, variant), tmp_path / "run", **ON).document["evaluation"]["target"]
    here = tasks.run(setting(tmp_path / "cpu", variant), tmp_path / "cpu_run").document["evaluation"]["target"]
    assert there["n"] == here["n"]
    assert there["accuracy"] == pytest.approx(here["accuracy"], abs=0.11)  # two of twenty images


@pytest.mark.parametrize("variant", each(["fine_tune_edge", "linear_probe", "svm"]))
def test_what_frozen_layers_make_is_taken_from_the_cache(tmp_path, variant):
    case, cache = setting(tmp_path, variant), {"cache": tmp_path / "cache"}
    with tasks.counted() as computed:
        first = tasks.run(case, tmp_path / "first", **ON, **cache)
    with tasks.counted() as again:
        second = tasks.run(case, tmp_path / "second", **ON, **cache)
    assert again[0] < computed[0]
    assert second.trace == pytest.approx(first.trace, rel=0.05)


@pytest.mark.parametrize("variant", each(TRAINING))
def test_it_goes_on_where_it_was_interrupted(tmp_path, variant):
    case = setting(tmp_path, variant)
    with pytest.raises(Interrupted):
        tasks.run(case, tmp_path / "part", at(5, "shutdown"), **ON)
    [snapshot] = (tmp_path / "part").glob("snapshot-*")
    rest = tasks.run(case, tmp_path / "rest", snapshot=snapshot, **ON)
    assert statistics.fmean(rest.trace) < 2 * losses(variant)
