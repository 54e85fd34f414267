"""The catalogue as workers publish it, and what the API refuses by it."""

import time
from pathlib import Path
from typing import Any

import pytest
import timm

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.core import errors
from app.db.session import Database
from app.networks import service as networks
from tests.weights_files import INPUT, NETWORK
from worker.networks import catalogue, from_timm, from_torchvision, plugins
from worker.networks.build import FAMILIES

LIBRARIES = (from_torchvision, from_timm, plugins)
GREY = InputSpec.model_validate(INPUT)


def test_all_networks_are_listed_quickly() -> None:
    start = time.perf_counter()
    entries = {entry["name"]: entry for entry in catalogue.entries()}
    assert time.perf_counter() - start < 5
    assert {"cnn3", "layers"} <= entries.keys()
    assert {f"torchvision/{name}" for name in from_torchvision.names()} <= entries.keys()
    assert {f"timm/{name}" for name in timm.list_models()} <= entries.keys()
    assert entries["torchvision/resnet50"]["pretrained"] == ["IMAGENET1K_V1", "IMAGENET1K_V2"]
    assert "a1_in1k" in entries["timm/resnet18"]["pretrained"]
    assert "11,689,512 parameters" in entries["torchvision/resnet18"]["summary"]
    for entry in entries.values():
        assert len(entry["name"]) <= 128
        assert entry["summary"].endswith(".")
        assert entry["input"] is None or InputSpec.model_validate(entry["input"])
        assert entry["options"]["type"] == "object"


def test_families_of_our_own_are_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/methods.md").read_text().partition("\n## Networks\n")[2]
    own = [entry["name"] for family in FAMILIES if family not in LIBRARIES for entry in family.entries()]
    assert len(own) >= 3
    assert [name for name in own if f"\n- `{name}`: " not in page] == []


@pytest.fixture
def published(database: Database) -> Database:
    with database.unit_of_work() as db:
        networks.publish(db, catalogue.entries())
    return database


def refusal(database: Database, document: dict[str, Any], input: InputSpec | None = GREY) -> errors.Invalid:
    with database.unit_of_work() as db, pytest.raises(errors.Invalid) as refused:
        networks.check(db, NetworkSpec.model_validate(document), input, "network")
    return refused.value


def test_what_can_be_built_passes(published: Database) -> None:
    with published.unit_of_work() as db:
        for document in (
            NETWORK,
            {"name": "cnn3", "num_classes": 10},
            {"name": "timm/resnet18", "num_classes": 10, "options": {"drop_rate": 0.1}},
        ):
            networks.check(db, NetworkSpec.model_validate(document), GREY, "network")
            networks.check(db, NetworkSpec.model_validate(document), None, "network")


def test_a_bad_description_is_refused_where_the_fault_is(published: Database) -> None:
    document = {"name": "layers", "num_classes": 3, "options": {"layers": [{"type": "Linear", "out_features": 3}]}}
    refused = refusal(published, document)
    assert refused.param == "network.options.layers.0"
    assert "Flatten" in refused.detail


def test_every_fault_of_the_form_is_listed(published: Database) -> None:
    bad = [{"type": "Linear"}, {"type": "Conv9d"}]
    refused = refusal(published, {"name": "layers", "num_classes": 3, "options": {"layers": bad}}, None)
    assert [fault["param"] for fault in refused.errors] == [
        "network.options.layers.0.out_features",
        "network.options.layers.1",
    ]


@pytest.mark.parametrize("name", ["cnn3", "torchvision/resnet18", "timm/resnet18"])
def test_an_option_that_a_network_has_not_is_refused(published: Database, name: str) -> None:
    refused = refusal(published, {"name": name, "num_classes": 3, "options": {"depth": 9}})
    assert refused.param == "network.options.depth"
