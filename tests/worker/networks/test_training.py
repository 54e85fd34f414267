"""Networks of our own families are trained, and a training that was interrupted ends where one ends that was not."""

import pytest

from app.contract.inputs import InputSpec
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from tests.worker.networks.families import OWN


@pytest.mark.parametrize(("name", "usual"), OWN.items())
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, name: str, usual: InputSpec):
    network = {"name": name, "num_classes": 10}
    method = {"name": "train", "network": network, "input": usual.model_dump(mode="json"), "epochs": 1}
    case = Setting(method | {"batch_size": 8}, None, tasks.dataset(tmp_path / "target", 10))
    outcome = tasks.resumed(case, tmp_path, 3)
    assert outcome.document["network"] == network | {"options": {}}
