"""What does not fit is told before anything is queued, with every reason."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.status import Readiness
from app.db.tables import Dataset
from app.jobs import fit
from app.jobs.fit import Parts
from app.jobs.sources import Source
from app.methods.adabn import AdaBn
from app.methods.dann import Dann
from app.methods.evaluate import Evaluate
from app.methods.fine_tune import FineTune
from app.methods.mcc import Mcc
from app.methods.networks import NetworkSpec
from app.methods.shot import Shot
from app.methods.tent import Tent
from app.methods.train import Train

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


def dataset(**changes: Any) -> Dataset:
    fields = {
        "id": "ds_target",
        "labelled": True,
        "classes": ["cat", "dog", "cow"],
        "splits": {"train": 60, "validation": 6, "test": 12},
        "counts": {"train": [30, 20, 10], "validation": [2, 2, 2], "test": [4, 4, 4]},
    }
    return Dataset(**(fields | changes))


NO_VALIDATION = {"train": 66, "validation": 0, "test": 12}


def processing(**changes: Any) -> Dataset:
    return dataset(**({"classes": None, "splits": None, "counts": None} | changes))


def network(num_classes: int) -> NetworkSpec:
    return NetworkSpec(name="cnn3", num_classes=num_classes)


def parts(method: Any, target: Dataset, source: Source | None = SOURCE, source_dataset: Dataset | None = None) -> Parts:
    return Parts(method, source, target, source_dataset)


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
    assert fit.faults(fitting) == []


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
    ],
)
def test_what_does_not(unfit: Parts, param: str, said: str) -> None:
    (fault,) = fit.faults(unfit)
    assert fault["param"] == param
    assert said in fault["detail"]
    assert fault["code"] == "does_not_fit"


def test_all_reasons_at_once() -> None:
    wrong = parts(Train(network=network(7), train_size=61, labels_per_class=11), dataset(labelled=False), None)
    assert [fault["param"] for fault in fit.faults(wrong)] == [
        "dataset",
        "method.network.num_classes",
        "method.train_size",
        "method.labels_per_class",
    ]
