"""Records of the contract: what older versions stored is read, and what was never said stays absent."""

from typing import ClassVar

import pytest
from pydantic import ValidationError

from app.contract.evaluation import Evaluation, Measured
from app.contract.lineage import Lineage
from app.contract.record import Record
from app.contract.specs import CheckpointIngest, DatasetIngest, DatasetSpec, RunSpec, SourceSpec
from app.contract.transfer import TensorReport, TransferReport
from app.methods.registry import parse

NETWORK = {"name": "cnn3", "num_classes": 2}
INPUT = {"size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.25]}


class Renamed(Record):
    """A record whose field was once called `colour`."""

    VERSION: ClassVar[int] = 2
    color: str
    size: int | None = None

    @classmethod
    def upgraded(cls, document, version):
        if version != 1:
            return super().upgraded(document, version)
        return {"color" if name == "colour" else name: value for name, value in document.items()}


@pytest.mark.parametrize(
    "document", [{"colour": "red"}, {"version": 1, "colour": "red"}, {"version": 2, "color": "red"}]
)
def test_every_version_is_read_and_the_newest_is_written(document):
    assert Renamed.load(document).dump() == {"version": 2, "color": "red"}


def test_a_document_of_a_newer_version_is_refused():
    with pytest.raises(ValidationError, match="version 3"):
        Renamed.load({"version": 3, "color": "red"})


@pytest.mark.parametrize("recipe", [{"augmentation": "strong"}, None])
def test_a_recipe_from_before_recipes_were_checked_is_none(recipe: object) -> None:
    assert SourceSpec.load({"network": NETWORK, "input": INPUT, "recipe": recipe}).recipe is None


def test_null_and_absent_are_not_the_same():
    assert Renamed.load({"color": "red", "size": None}).dump() == {"version": 2, "color": "red", "size": None}


def test_a_dataset_that_was_asked_for_before_tables_had_columns_is_read():
    options = {"splits": {"train": 0.8, "validation": 0.1, "test": 0.1}, "seed": 3, "labels": "fine"}
    spec = DatasetIngest.load({"format": "auto", "labelled": True, **options})
    assert (spec.splits, spec.columns, spec.split_names) == (options["splits"], None, None)


def test_a_checkpoint_that_was_asked_for_before_files_held_several_sets_is_read():
    spec = CheckpointIngest.load({"network": NETWORK, "input": None, "classes": None, "filename": "a.pt"})
    assert (spec.weights, spec.allow_missing, spec.multi_label) == (None, False, False)


def test_a_source_that_was_described_before_heads_could_be_untrained_is_read():
    spec = SourceSpec.load({"network": NETWORK, "input": INPUT, "classes": ["a", "b"], "recipe": None})
    assert (spec.untrained_head, spec.drawn, spec.multi_label) == (False, (), False)


@pytest.mark.parametrize("name", ["fine_tune", "knn", "erm"])
def test_a_method_crosses_with_all_that_it_says(name):
    needed = {"environments": ["ds_0001", "ds_0002"], "network": NETWORK} if name == "erm" else {}
    method = parse({"name": name} | needed)
    spec = RunSpec(method=method, seed=1, target=DatasetSpec(mean=(0.5,), std=(0.5,)))
    assert spec.method is method
    assert spec.dump()["method"] == method.model_dump(mode="json")


FIGURES = {
    "split": "test",
    "n": 4,
    "accuracy": 0.5,
    "accuracy_interval": [0.1, 0.9],
    "balanced_accuracy": 0.5,
    "nll": 1.0,
    "ece": 0.1,
    "per_class": [0.5, None],
    "confusion": [[1, 1], [1, 1]],
}
STORED = [  # in 0.1.0, or before the fields that came later
    (Evaluation, {"target": FIGURES, "source": None, "labels_used": "none"}),
    (Evaluation, {"target": FIGURES | {"left_out": 3, "map": None}, "labels_used": "none", "guard": None}),
    (Evaluation, {"target": FIGURES | {"of_a_later_version": {"a": 1}}, "source": None, "labels_used": "none"}),
    (TensorReport, {"copied": ["a"], "renamed": [{"from": "b", "to": "c"}], "initialised": []}),
    (TransferReport, {"tensors": {"copied": ["a"]}, "head": "new", "adapters": []}),
    (TransferReport, {"tensors": {}, "drift": None, "leave_one_out": [{"environment": "ds_1", "accuracy": 0.5}]}),
    (Lineage, {"checkpoint_sha256": None, "dataset_sha256": "0" * 64, "code_version": "0.1.0"}),
]


@pytest.mark.parametrize(("kind", "document"), STORED, ids=lambda value: getattr(value, "__name__", None))
def test_what_an_older_version_stored_is_read_and_given_back_as_it_was(kind, document):
    assert kind.load(document).dump() == document


def test_what_only_some_evaluations_have_is_shown_where_it_was_said():
    plain, several = Measured.load(FIGURES), Measured.load(FIGURES | {"map": None, "classes": ["a"]})
    assert plain.model_dump(mode="json") == FIGURES
    assert several.model_dump(mode="json") == FIGURES | {"map": None, "classes": ["a"]}


def test_parts_that_the_api_shows_as_null_are_null_where_they_were_never_said():
    shown = Evaluation.load({"target": FIGURES, "labels_used": "none"}).model_dump(mode="json")
    assert (shown["source"], shown["guard"], shown["ablation"]) == (None, None, None)
