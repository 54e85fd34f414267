"""A method trains with each term, and what a term has learned is in the snapshot."""

import pytest

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.terms.registry import TERMS


@pytest.mark.parametrize("term", TERMS)
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, term):
    method = {"name": "fine_tune", "epochs": 2, "batch_size": 8}
    source, target = tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "target", 10)
    there = tasks.dataset(tmp_path / "there", 10, seed=5)
    outcome = tasks.resumed(Setting(method | {"terms": [{"name": term}]}, source, target, there), tmp_path, 7)
    assert outcome.trace != tasks.run(Setting(method, source, target, there), tmp_path / "without").trace
