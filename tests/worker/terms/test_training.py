"""A method trains with each term, and one that was interrupted ends where one ends that was not."""

import pytest
import torch

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runtime.contract import Interrupted
from worker.terms.registry import TERMS


@pytest.mark.parametrize("term", TERMS)
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, term):
    """What a term has learned is in the snapshot."""
    method = {"name": "fine_tune", "epochs": 2, "batch_size": 8, "terms": [{"name": term}]}
    source, target = tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "target", 10)
    case = Setting(method, source, target, tasks.dataset(tmp_path / "there", 10, seed=5))
    whole = tasks.run(case, tmp_path / "whole")
    orders = iter([None] * 7 + ["shutdown"] + [None] * 1000)
    with pytest.raises(Interrupted):
        tasks.run(case, tmp_path / "part", lambda recorder: next(orders))
    [snapshot] = (tmp_path / "part").glob("snapshot-*")
    rest = tasks.run(case, tmp_path / "rest", snapshot=snapshot)
    assert rest.document == whole.document
    assert all(torch.equal(tensor, rest.weights[name]) for name, tensor in whole.weights.items())
    without = tasks.run(Setting(method | {"terms": []}, source, target), tmp_path / "without")
    assert without.trace != whole.trace
