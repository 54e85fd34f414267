"""What does not fit is told before anything is queued, with every reason."""

from dataclasses import replace
from typing import Any

import pytest

from app.contract.networks import NetworkSpec
from app.core.status import Readiness
from app.db.tables import DatasetRow
from app.jobs import checks, planning
from app.jobs.planning import facts_of
from app.jobs.sources import Source
from app.methods.base import Method
from app.methods.cross_domain.dann import Dann
from app.methods.cross_domain.mcc import Mcc
from app.methods.facts import JobFacts
from app.methods.generalisation.erm import Erm
from app.methods.semi_supervised.fixmatch import FixMatch
from app.methods.source_free.adabn import AdaBn
from app.methods.source_free.shot import Shot
from app.methods.source_free.tent import Tent
from app.methods.supervised.fine_tune import FineTune
from app.methods.supervised.train import Train
from app.methods.terms.attention_transfer import AttentionTransfer
from app.methods.terms.bss import Bss
from app.methods.terms.co_tuning import CoTuning
from app.methods.terms.delta import Delta
from app.methods.terms.distillation import Distillation
from app.methods.terms.feature_hint import FeatureHint
from app.methods.terms.l2_sp import L2Sp
from app.methods.terms.lwf import Lwf
from app.methods.training import Swad
from app.methods.utilities.evaluate import Evaluate

Parts = tuple[Method, JobFacts]
SOURCE = Source(
    id="ckpt_source",
    readiness=Readiness.READY,
    network={"name": "cnn3", "num_classes": 3, "options": {}},
    input=None,
    classes=["cat", "dog", "cow"],
    recipe=None,
    parameters=10,
    sha256="0" * 64,
    weights="1" * 64,
    dataset=None,
)


def dataset(**changes: Any) -> DatasetRow:
    fields = {
        "id": "ds_target",
        "labelled": True,
        "classes": ["cat", "dog", "cow"],
        "splits": {"train": 60, "validation": 6, "test": 12},
        "counts": {"train": [30, 20, 10], "validation": [2, 2, 2], "test": [4, 4, 4]},
    }
    return DatasetRow(**(fields | changes))


NO_VALIDATION = {"train": 66, "validation": 0, "test": 12}


def processing(**changes: Any) -> DatasetRow:
    return dataset(**({"classes": None, "splits": None, "counts": None} | changes))


def network(num_classes: int) -> NetworkSpec:
    return NetworkSpec(name="cnn3", num_classes=num_classes)


SINGLE: list[Any] = [CoTuning(), Distillation(), Lwf()]
ANY = [L2Sp(), Delta(), Bss(), FeatureHint(), AttentionTransfer()]


def parts(
    method: Any, target: DatasetRow, source: Source | None = SOURCE, source_dataset: DatasetRow | None = None
) -> Parts:
    return method, facts_of(source, target, source_dataset)


@pytest.mark.parametrize(
    "fitting",
    [
        parts(FineTune(), dataset()),
        parts(FineTune(train_size=60), dataset()),
        parts(FineTune(labels_per_class=10), dataset()),
        parts(FineTune(), dataset(classes=["x", "y"], counts=None)),  # a new head
        parts(Evaluate(), dataset(classes=["cow", "hen"])),
        parts(Evaluate(), dataset(), replace(SOURCE, classes=None)),
        parts(Train(network=network(3)), dataset(), None),
        parts(Train(network=network(7), train_size=10**6), processing(), None),  # not judged yet
        parts(Evaluate(), processing()),
        parts(FineTune(terms=SINGLE), dataset()),
        parts(FineTune(terms=ANY), dataset(multi_label=True)),
        parts(FineTune(), dataset(), replace(SOURCE, multi_label=True)),
        parts(Evaluate(), dataset(multi_label=True), replace(SOURCE, multi_label=True)),
        parts(Evaluate(), processing(), replace(SOURCE, multi_label=True)),
        parts(Evaluate(), dataset(multi_label=True), replace(SOURCE, readiness=Readiness.PROCESSING)),
        parts(Shot(), dataset(classes=["cow", "cat"])),
        parts(Tent(), dataset(labelled=False, classes=None)),
        parts(AdaBn(), dataset(), replace(SOURCE, classes=None)),
        parts(Dann(), dataset(labelled=False, classes=None), source_dataset=dataset()),
        parts(Dann(), dataset(classes=["cow", "dog"]), source_dataset=dataset()),  # some of the source's
        parts(Dann(), dataset(), source_dataset=processing()),
        parts(Mcc(selection="source_validation"), processing(labelled=False), source_dataset=dataset()),
    ],
)
def test_what_fits(fitting: Parts) -> None:
    assert checks.faults(*fitting) == []


@pytest.mark.parametrize(
    ("unfit", "param", "said"),
    [
        (parts(FineTune(), dataset(labelled=False)), "dataset", "labels"),
        (parts(FineTune(), processing(labelled=False)), "dataset", "labels"),
        (parts(FineTune(), dataset(), source_dataset=dataset(labelled=False)), "source_dataset", "labels"),
        (parts(Train(network=network(7)), dataset(), None), "method.network.num_classes", "has 3"),
        (parts(Evaluate(), dataset(classes=["hen", "pig"])), "dataset", "share no class name"),
        (parts(Shot(), dataset(classes=["cow", "hen"])), "dataset", "ckpt_source does not know: hen."),
        (parts(AdaBn(), dataset(splits={"train": 0, "validation": 0, "test": 5})), "dataset", "training split"),
        (parts(Evaluate(), dataset(splits={"train": 5, "validation": 0, "test": 0})), "dataset", "test split"),
        (parts(FineTune(), dataset(splits={"train": 0, "validation": 0, "test": 5})), "dataset", "training split"),
        (parts(FineTune(train_size=61), dataset()), "method.train_size", "has 60"),
        (parts(Dann(), dataset()), "source_dataset", "labelled images"),
        (parts(Dann(), dataset(classes=["cow", "hen"]), source_dataset=dataset()), "dataset", "no images: hen."),
        (
            parts(Mcc(selection="target_validation"), dataset(labelled=False, classes=None), source_dataset=dataset()),
            "method.selection",
            "target_validation",
        ),
        (
            parts(Mcc(selection="source_validation"), dataset(), source_dataset=dataset(splits=NO_VALIDATION)),
            "method.selection",
            "source_validation",
        ),
        (parts(FineTune(labels_per_class=11), dataset()), "method.labels_per_class", "has 10 of class 'cow'"),
        (parts(FineTune(swad=Swad()), dataset(splits=NO_VALIDATION)), "method.swad", "goes by the validation loss"),
        (parts(Evaluate(), dataset(multi_label=True)), "dataset", "any number of labels"),
        (parts(Evaluate(), dataset(), replace(SOURCE, multi_label=True)), "dataset", "any number of labels"),
        (parts(FineTune(), dataset(), source_dataset=dataset(multi_label=True)), "source_dataset", "any number"),
        *[
            (parts(FineTune(terms=[term]), dataset(multi_label=True)), "method.terms.0", f"`{term.name}` takes")
            for term in SINGLE
        ],
        (parts(FineTune(terms=[Lwf()]), dataset(), replace(SOURCE, multi_label=True)), "method.terms.0", "ckpt_source"),
    ],
)
def test_what_does_not(unfit: Parts, param: str, said: str) -> None:
    (fault,) = checks.faults(*unfit)
    assert fault["param"] == param
    assert said in fault["detail"]
    assert fault["code"] == "does_not_fit"


def test_a_method_that_learns_one_label_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FineTune, "info", replace(FineTune.info, multi_label=False))
    (fault,) = checks.faults(*parts(FineTune(), dataset(multi_label=True)))
    assert fault["param"] == "dataset"
    assert "`linear_probe`" in fault["detail"]


def several(**changes: Any) -> DatasetRow:
    return dataset(multi_label=True, **changes)


@pytest.mark.parametrize(
    ("unfit", "param"),
    [
        (parts(Shot(), several()), "dataset"),
        (parts(Shot(), dataset(), replace(SOURCE, multi_label=True)), "checkpoint"),
        (parts(Mcc(), several(), source_dataset=dataset()), "dataset"),
        (parts(Mcc(), dataset(), replace(SOURCE, multi_label=True), several()), "checkpoint"),
    ],
)
def test_methods_across_domains_take_one_label_an_image(unfit: Parts, param: str) -> None:
    found = {fault["param"]: fault["detail"] for fault in checks.faults(*unfit)}
    assert "any number" in found[param]


@pytest.mark.parametrize("place", [0, 1])
def test_so_do_methods_for_several_environments(place: int) -> None:
    found = [dataset(), dataset()]
    found[place] = several()
    (fault,) = checks.faults(*environments(*found))
    assert fault["param"] == f"method.environments.{place}"


def environments(first: DatasetRow, second: DatasetRow, target: DatasetRow | None = None) -> Parts:
    method = Erm(environments=["ds_first", "ds_second"], network=network(3))
    found = {"ds_first": first, "ds_second": second}
    target = target or dataset(splits={"train": 0, "validation": 0, "test": 4})
    return method, facts_of(None, target, environments=found)


def test_dense_averaging_needs_one_environment_with_validation_images() -> None:
    bare, other = dataset(splits=NO_VALIDATION), dataset(splits=NO_VALIDATION)
    method, facts = environments(bare, other)
    assert checks.faults(method, facts) == []
    method = method.model_copy(update={"swad": Swad()})
    [found] = checks.faults(method, facts)
    assert found["param"] == "method.swad"
    assert checks.faults(method, environments(bare, dataset())[1]) == []


def test_there_are_not_two_averages() -> None:
    with pytest.raises(ValueError, match="two ways to average"):
        FineTune(swad=Swad(), average=0.9)


def test_environments_fit_by_the_names_that_they_share() -> None:
    assert checks.faults(*environments(dataset(), dataset(classes=["cow", "dog", "hen"]))) == []
    assert checks.faults(*environments(dataset(), processing())) == []


@pytest.mark.parametrize(
    ("second", "target", "param", "said"),
    [
        (dataset(classes=["cow", "hen"]), None, "method.environments", "fewer than two"),
        (dataset(labelled=False, classes=None), None, "method.environments.1", "has none"),
        (dataset(splits={"train": 0, "validation": 9, "test": 9}), None, "method.environments.1", "split"),
        (dataset(), dataset(classes=["hen", "pig"]), "dataset", "no class that all environments have"),
    ],
)
def test_environments_that_do_not_fit(second: DatasetRow, target: DatasetRow | None, param: str, said: str) -> None:
    (fault,) = checks.faults(*environments(dataset(), second, target))
    assert fault["param"] == param
    assert said in fault["detail"]


def test_all_reasons_at_once() -> None:
    wrong = parts(Train(network=network(7), train_size=61, labels_per_class=11), dataset(labelled=False), None)
    assert [fault["param"] for fault in checks.faults(*wrong)] == [
        "dataset",
        "method.network.num_classes",
        "method.train_size",
        "method.labels_per_class",
    ]


def semi_supervised(unlabelled: DatasetRow, target: DatasetRow | None = None) -> Parts:
    method = FixMatch(unlabelled="ds_images", network=network(3))
    return method, facts_of(None, target or dataset(), environments={"ds_images": unlabelled})


def test_images_without_labels_may_be_another_datasets_and_are_what_an_epoch_is_made_of() -> None:
    images = dataset(id="ds_images", labelled=False, classes=None, counts=None, splits={"train": 900, "validation": 0})
    method, facts = semi_supervised(images)
    assert checks.faults(method, facts) == []
    learnt = planning.learnt(method, facts)
    assert learnt is not None
    assert (learnt.id, method.train_count(learnt)) == ("ds_images", 900)
    assert checks.faults(*semi_supervised(processing(id="ds_images"))) == []


def test_images_without_labels_that_do_not_fit() -> None:
    empty = dataset(id="ds_images", splits={"train": 0, "validation": 9, "test": 9})
    (fault,) = checks.faults(*semi_supervised(empty))
    assert (fault["param"], "empty" in fault["detail"]) == ("method.unlabelled", True)
    (fault,) = checks.faults(*semi_supervised(dataset(id="ds_images"), dataset(labelled=False, classes=None)))
    assert fault["param"] == "dataset"
