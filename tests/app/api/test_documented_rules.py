"""What is checked between fields, and what the JSON Schema of a class says of it, are the same."""

import jsonschema_rs
import pytest
from pydantic import TypeAdapter, ValidationError

from app.api.schemas.datasets import Columns, SplitNames
from app.api.schemas.jobs import JobSpec
from app.api.schemas.predictions import Images
from app.contract.augmentation import AugmentationStep
from app.contract.inputs import InputSpec
from app.methods.classical.svm import Svm
from app.methods.fusion.family import Several
from app.methods.generalisation.family import Generalisation
from app.methods.self_supervised.simclr import SimClr
from app.methods.supervised.fine_tune import FineTune
from app.methods.transfer.rule_transfer import RuleTransfer

TERM = {"name": "bss"}
NETWORK = {"name": "cnn3", "num_classes": 3}
INPUT = {"size": [9, 9], "channels": 1, "mean": [0.5], "std": [0.25]}
ONE, TWO, THREE = "ds_0001", "ds_0002", "ds_0003"
JOB = {"dataset": ONE, "checkpoint": "ckpt_0001"}


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        (InputSpec, INPUT, INPUT | {"channels": 3}),
        (InputSpec, INPUT | {"channels": 3, "mean": [0] * 3, "std": [1] * 3}, INPUT | {"mean": [0.5, 0.5]}),
        (Columns, {"label": "kind", "labels": None}, {"label": "kind", "labels": "kinds"}),
        (SplitNames, {"train": ["a", "b"]}, {"train": ["a", "a"]}),
        (FineTune, {"name": "fine_tune", "compile": True}, {"name": "fine_tune", "compile": True, "terms": [TERM]}),
        (
            FineTune,
            {"name": "fine_tune", "precision": "auto", "terms": [TERM]},
            {"name": "fine_tune", "precision": "bfloat16", "terms": [TERM]},
        ),
        (
            FineTune,
            {"name": "fine_tune", "micro_batch_size": 4, "terms": []},
            {"name": "fine_tune", "micro_batch_size": 4, "terms": [TERM]},
        ),
        (
            FineTune,
            {"name": "fine_tune", "micro_batch_size": None, "class_weights": "balanced"},
            {"name": "fine_tune", "micro_batch_size": 4, "class_weights": "balanced"},
        ),
        (
            FineTune,
            {"name": "fine_tune", "learning_rates": {"1": 1}},
            {"name": "fine_tune", "learning_rates": {"\0": 1}},
        ),
        (Generalisation, {"environments": [ONE, TWO]}, {"environments": [ONE, ONE]}),
        (
            Generalisation,
            {"environments": [ONE, TWO, THREE], "leave_one_out": True},
            {"environments": [ONE, TWO], "leave_one_out": True},
        ),
        (Several, [ONE, TWO], [ONE, ONE]),
        (SimClr, {"name": "simclr", "augmentation": [{"name": "solarise"}]}, {"name": "simclr", "augmentation": []}),
        (SimClr, {"name": "simclr", "augmentation": "auto"}, {"name": "simclr", "augmentation": "none"}),
        (SimClr, {"name": "simclr", "input": INPUT, "network": NETWORK}, {"name": "simclr", "input": INPUT}),
        (
            RuleTransfer,
            {"name": "rule_transfer", "network": NETWORK},
            {"name": "rule_transfer", "network": NETWORK, "weights": True},
        ),
        (Svm, {"name": "svm", "gamma": 1}, {"name": "svm", "kernel": "linear", "gamma": 1}),
        (AugmentationStep, {"name": "affine"}, {"degrees": 3}),
        (JobSpec, JOB | {"method": {"name": "svm"}}, JOB | {"method": {"C": 1}}),
        (
            JobSpec,
            JOB | {"method": {"name": "svm"}, "metadata": {"a": "b"}},
            JOB | {"method": {"name": "svm"}, "metadata": {"a\0": "b"}},
        ),
        (Images, {"images": ["AAAA", "data:image/png;base64,AA==", "AA\nA=\n"]}, {"images": ["AAA"]}),
        (Images, {"images": [" AAAAAAA="]}, {"images": ["A.AA"]}),
    ],
)
def test_the_schema_refuses_what_is_refused(kind, taken, refused):
    parser = TypeAdapter(kind)
    schema = jsonschema_rs.validator_for(parser.json_schema())
    parser.validate_python(taken)
    assert schema.is_valid(taken)
    assert not schema.is_valid(refused)
    with pytest.raises(ValidationError):
        parser.validate_python(refused)
