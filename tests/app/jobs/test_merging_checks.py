"""What cannot become one network is refused when it is submitted, with the mismatch and a way out."""

from dataclasses import replace
from typing import Any

import pytest

from app.contract.networks import NetworkSpec
from app.core.status import Readiness
from app.db.tables import DatasetRow
from app.jobs import checks
from app.jobs.planning import facts_of
from app.jobs.sources import Source
from app.methods.base import Method
from app.methods.facts import JobFacts
from app.methods.fusion.distil_ensemble import DistilEnsemble, untold
from app.methods.fusion.soup import Soup
from app.methods.fusion.task_arithmetic import TaskArithmetic
from app.methods.fusion.ties import Ties
from app.methods.fusion.wise_ft import WiseFt

Parts = tuple[Method, JobFacts]
CLASSES = ["cat", "dog", "cow"]
INPUT = {"size": [32, 32], "channels": 3, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
CHECKPOINT = Source(
    id="ckpt_source",
    readiness=Readiness.READY,
    network={"name": "cnn3", "num_classes": 3, "options": {}},
    input=INPUT,
    classes=CLASSES,
    recipe=None,
    parameters=10,
    sha256="0" * 64,
    weights="1" * 64,
    dataset=None,
)
TUNED = {id_: replace(CHECKPOINT, id=id_) for id_ in ("model_first", "model_other")}
LAYERS = [{"type": "Flatten"}, {"type": "Linear", "out_features": 3}]


def dataset(**changes: Any) -> DatasetRow:
    fields = {
        "id": "ds_target",
        "labelled": True,
        "classes": CLASSES,
        "splits": {"train": 60, "validation": 6, "test": 12},
        "counts": {"train": [20, 20, 20], "validation": [2, 2, 2], "test": [4, 4, 4]},
    }
    return DatasetRow(**(fields | changes))


def unlabelled() -> DatasetRow:
    return dataset(labelled=False, classes=None, counts=None)


def parts(method: Any, target: DatasetRow | None = None, checkpoint: Source = CHECKPOINT, **two: Any) -> Parts:
    """`two` is what is different about the second of them."""
    teachers = {"ckpt_source": checkpoint} | TUNED | {"model_other": replace(TUNED["model_other"], **two)}
    return method, facts_of(checkpoint, target or dataset(), teachers=teachers)


def network(name: str = "cnn3", num_classes: int = 3, **options: Any) -> dict[str, Any]:
    return {"name": name, "num_classes": num_classes, "options": options}


SOURCES = list(TUNED)
OTHER_HEAD = replace(CHECKPOINT, network=network(num_classes=7), classes=[str(k) for k in range(7)])


@pytest.mark.parametrize(
    "fitting",
    [
        parts(Soup(sources=SOURCES)),
        parts(Soup(sources=["ckpt_source", "model_first"])),  # any of them may be the checkpoint
        parts(Soup(sources=SOURCES, kind="uniform"), unlabelled()),
        parts(Soup(sources=SOURCES), checkpoint=OTHER_HEAD),
        parts(Soup(sources=SOURCES), classes=CLASSES[::-1]),  # in another order
        parts(Soup(sources=SOURCES), input=INPUT | {"margin": 4}),
        parts(Soup(sources=SOURCES), readiness=Readiness.PROCESSING, input=None, classes=None),  # not judged yet
        parts(TaskArithmetic(sources=SOURCES), unlabelled()),
        parts(WiseFt(sources=["model_first"])),
        parts(DistilEnsemble(teachers=SOURCES), network=network("torchvision/resnet18", 2), classes=["dog", "cow"]),
        parts(DistilEnsemble(teachers=SOURCES), unlabelled(), classes=["hen", "cow"], network=network(num_classes=2)),
    ],
)
def test_what_fits(fitting: Parts) -> None:
    assert checks.faults(*fitting) == []


def test_layers_are_compared_as_they_are_built() -> None:
    """What one description leaves open and another says is the same network."""
    grey = {"size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.2]}
    told = network("layers", layers=[LAYERS[0], {"type": "Linear", "in_features": 64, "out_features": 3}])
    plain = replace(CHECKPOINT, network=network("layers", layers=LAYERS), input=grey)
    teachers = {
        "model_first": replace(plain, id="model_first"),
        "model_other": replace(plain, id="model_other", network=told),
    }
    assert checks.faults(Soup(sources=SOURCES), facts_of(plain, dataset(), teachers=teachers)) == []


@pytest.mark.parametrize(
    ("unfit", "param", "said"),
    [
        (
            parts(Soup(sources=SOURCES), network=network(num_classes=4), classes=["cat", "dog", "cow", "hen"]),
            "sources.1",
            "model_other has 4 classes, model_first has 3",
        ),
        (parts(Soup(sources=SOURCES), classes=["cat", "dog", "hen"]), "sources.1", "model_other has the class 'hen'"),
        (parts(Soup(sources=SOURCES), classes=None), "sources.1", "model_other have no names"),
        (
            parts(Soup(sources=SOURCES), network=network("timm/resnet18")),
            "sources.1",
            "model_other is a `timm/resnet18`",
        ),
        (parts(Soup(sources=SOURCES), network=network(width=2)), "sources.1", "other options"),
        (parts(Soup(sources=SOURCES), input=INPUT | {"std": [1, 1, 1]}), "sources.1", "`std` [1.0, 1.0, 1.0]"),
        (parts(Ties(sources=["model_first"]), checkpoint=OTHER_HEAD), "sources.0", "ckpt_source has 7"),
        (
            parts(Soup(sources=SOURCES), dataset(classes=["hen", "pig"], counts=None)),
            "sources.0",
            "share no class name",
        ),
        (
            parts(DistilEnsemble(teachers=SOURCES, network=NetworkSpec(name="cnn3", num_classes=9))),
            "network.num_classes",
            "has 9 classes",
        ),
    ],
)
def test_what_does_not_names_the_mismatch_and_a_way_out(unfit: Parts, param: str, said: str) -> None:
    (fault,) = checks.faults(*unfit)
    assert fault["param"] == f"method.{param}"
    assert said in fault["detail"]
    assert param == "network.num_classes" or "distil_ensemble" in fault["detail"]


@pytest.mark.parametrize(
    ("unfit", "param", "said"),
    [
        (parts(WiseFt(sources=["ckpt_source"])), "sources.0", "is the checkpoint"),
        (parts(Soup(sources=SOURCES), dataset(splits={"train": 9, "validation": 0, "test": 2})), "kind", "validation"),
        (parts(TaskArithmetic(sources=SOURCES, scale="validation"), unlabelled()), "scale", "has no labels"),
        (parts(WiseFt(sources=["model_first"]), unlabelled()), "alpha", "has no labels"),
        (parts(DistilEnsemble(teachers=SOURCES, selection="target_validation"), unlabelled()), "selection", "labels"),
        (parts(DistilEnsemble(teachers=SOURCES, label_weight=0.5), unlabelled()), "label_weight", "no training labels"),
        (parts(DistilEnsemble(teachers=SOURCES), classes=None), "teachers.1", "no names"),
        (
            parts(DistilEnsemble(teachers=SOURCES), dataset(classes=[*CLASSES, "hen"], counts=None)),
            "label_weight",
            "no teacher knows the class 'hen'",
        ),
    ],
)
def test_what_a_choice_or_a_student_lacks(unfit: Parts, param: str, said: str) -> None:
    fault = checks.faults(*unfit)[0]
    assert fault["param"] == f"method.{param}"
    assert said in fault["detail"]
    assert fault["code"] == "does_not_fit"


def test_what_no_chain_of_teachers_tells_apart() -> None:
    classes = ["a", "b", "c", "d"]
    assert untold(classes, [["a", "b"], ["c", "d"]]) == "no teacher tells 'a' from 'c', nor does a chain of them"
    assert untold(classes, [["a", "b"], ["c", "d"], ["x", "d", "a"]]) is None
    assert untold(classes, [["b", "c"], ["a", "b", "x"], ["d", "c"]]) is None
    assert untold(classes, [["a", "b", "c"]]) == "no teacher knows the class 'd'"
