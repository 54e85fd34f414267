"""What is compared, on what, and among which settings each contender looks for its own."""

import itertools
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from contest import data
from contest.data import Labelled

Method = dict[str, Any]
Axis = Sequence[Method]  # alternatives for some of a method's parameters

LABELS = (1, 5, 10, 50)
SEEDS = (0, 1, 2, 3, 4)
TUNING_SEEDS = (100, 101, 102)
STUDENT_LABELS = 50
MIN_EPOCHS = 10
TRIES = 18  # of every baseline
TEACHER = "mod_teacher"
TERMS = ("l2_sp", "delta", "bss", "co_tuning", "distillation", "feature_hint", "attention_transfer", "lwf")
CLASSICAL = ("svm", "logistic_regression", "ridge", "knn", "random_forest")
TUNED = Path(__file__).with_name("tuned.json")

MNIST_INPUT = {"size": [16, 16], "channels": 1, "mean": [0.1307], "std": [0.3081]}
GARMENT_INPUT = {"size": [16, 16], "channels": 1, "mean": [0.286], "std": [0.353]}
AFFINE = [{"name": "affine", "degrees": 10, "translate": 0.1, "scale": [0.8, 1.2]}]
LARGER = [{"name": "affine", "degrees": 10, "translate": 0.1, "scale": [0.9, 1.4]}]  # optdigits fill their frame
FLIPPED = [{"name": "random_crop", "padding": 2}, {"name": "horizontal_flip"}]


def network(widths: tuple[int, int, int], hidden: int | None, classes: int) -> dict[str, Any]:
    """Three blocks of convolution, batch norm, ReLU and pooling on 16×16, then linear layers."""
    features: list[dict[str, Any]] = []
    for width in widths:
        features += [
            {"type": "Conv2d", "out_channels": width, "kernel_size": 3, "padding": 1},
            {"type": "BatchNorm2d"},
            {"type": "ReLU"},
            {"type": "MaxPool2d", "kernel_size": 2},
        ]
    linear = [] if hidden is None else [{"type": "Linear", "out_features": hidden}, {"type": "ReLU"}]
    linear += [{"type": "Linear", "out_features": classes}]
    layers = [
        {"name": "features", "layers": features},
        {"name": "flatten", "type": "Flatten"},
        {"name": "classifier", "layers": linear},
    ]
    return {"name": "layers", "num_classes": classes, "options": {"input": [1, 16, 16], "layers": layers}}


def large(classes: int) -> dict[str, Any]:
    return network((16, 32, 64), 64, classes)


def student(classes: int) -> dict[str, Any]:
    """A tenth of the parameters of `large`."""
    return network((6, 12, 20), None, classes)


@dataclass(frozen=True)
class Contender:
    """A row of the table: `base` are its fixed parameters, `axes` what is tried (nothing: it is only judged), at
    `tuned_at` labels a class."""

    name: str
    base: Method
    axes: Sequence[Axis] = ()
    tuned_at: tuple[int, ...] = (10,)
    labels: tuple[int, ...] = LABELS

    def settings(self) -> list[Method]:
        """What is tried: all there is, or `TRIES` of it at random; always the same."""
        every = [_joined(choice) for choice in itertools.product(*self.axes)]
        return every if len(every) <= TRIES else random.Random(0).sample(every, TRIES)


@dataclass(frozen=True)
class Domain:
    """`source` trains on `source_data`: transfers start from it; but where `teaches` is set, students learn from it.

    `one_origin`: all seeds share one source, to save time.
    """

    title: str
    source: Method
    source_data: Callable[[], Labelled]
    target_data: Callable[[], Labelled]
    contenders: tuple[Contender, ...]
    teaches: bool = False
    one_origin: bool = False

    def document(self) -> dict[str, Any]:
        """What all its measurements hang on."""
        return {"source": self.source, "data": [said(self.source_data), said(self.target_data)]}

    def contender(self, name: str) -> Contender:
        return next(one for one in self.contenders if one.name == name)


def domain(name: str, quick: bool = False) -> Domain:
    """`quick`: a source of one epoch, to see that all runs."""
    found = DOMAINS[name]
    return replace(found, source=found.source | {"epochs": 1}) if quick else found


def said(make: Callable[[], Labelled]) -> str:
    if isinstance(make, partial):
        return f"{make.func.__name__}{make.args}{make.keywords}"
    return make.__name__


def tuned(domain: str, contender: Contender, labels: int) -> Method:
    """The job's parameters with the settings that were best at the number of labels nearest to this."""
    found = json.loads(TUNED.read_text())[domain][contender.name]
    method: Method = contender.base | best(found, labels)["settings"]
    return method


def best(tuned: dict[str, dict[str, Any]], labels: int) -> dict[str, Any]:
    """Of a contender's entries, by labels a class, the one for these: else for the nearest."""
    return tuned[min(tuned, key=lambda at: abs(math.log(int(at) / labels)))]


def _joined(choice: Sequence[Method]) -> Method:
    return {name: value for part in choice for name, value in part.items()}


def _each(name: str, *values: Any) -> Axis:
    return [{name: value} for value in values]


def _margins(input: Method) -> Axis:
    return [{"input": input | {"fit": "pad", "margin": margin}} for margin in (0, 1, 2)]


def _source(input: dict[str, Any], classes: int, epochs: int, augmentation: object) -> Method:
    return {
        "name": "train",
        "network": large(classes),
        "input": input,
        "augmentation": augmentation,
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "epochs": epochs,
        "batch_size": 64,
    }


ADAMW: Method = {"optimizer": "adamw", "batch_size": 16, "steps": 300}
LOOKED_AT = (1, 10)
SVM = Contender(
    "SVM on pixels",
    {"name": "svm_on_pixels"},
    [_each("C", 0.1, 1.0, 10.0, 100.0), _each("gamma", 0.001, 0.003, 0.01, 0.03, 0.1, "scale")],
    LOOKED_AT,
)


def _tuning(override: Method) -> list[Contender]:
    """Of what is there, all with one setting."""
    head, whole = {"augmentation": "none", "learning_rate": 0.003}, {"augmentation": "auto", "learning_rate": 1e-3}
    return [
        Contender("linear_probe", {"name": "linear_probe"} | ADAMW | head | override),
        Contender("fine_tune", {"name": "fine_tune", "backbone_factor": 1.0} | ADAMW | whole | override),
        Contender("lp_ft", {"name": "lp_ft"} | ADAMW | whole | override),
        Contender("lora", {"name": "lora"} | ADAMW | whole | {"learning_rate": 0.003} | override),
    ]


def _with(term: str, override: Method) -> Contender:
    """The term as it is on its defaults, beside `fine_tune`."""
    fine_tune = {"name": "fine_tune", "backbone_factor": 1.0, "augmentation": "auto", "learning_rate": 1e-3}
    return Contender(f"fine_tune + {term}", fine_tune | ADAMW | override | {"terms": [{"name": term}]}, labels=(10,))


def _digits() -> tuple[Contender, ...]:
    axes = [
        _each("batch_size", 8, 16, 32),
        _each("steps", 300, 600, 1200),
        _each("augmentation", "auto", AFFINE),
        _each("learning_rate", 3e-4, 1e-3, 3e-3),
        _each("weight_decay", 0.01, 0.1),
        _margins(MNIST_INPUT),
    ]
    searched = [axes[0], _each("steps", 300, 600), *axes[2:4], _margins({})]
    override: Method = {"input": {"fit": "pad", "margin": 1}}
    whole = ADAMW | {"augmentation": "auto", "learning_rate": 1e-3, "input": MNIST_INPUT | override["input"]}
    return (
        Contender("source unchanged", {"name": "evaluate"}, [_margins({})], LOOKED_AT),
        SVM,
        Contender("scratch", {"name": "train", "network": large(10), "optimizer": "adamw"}, axes, LOOKED_AT),
        *_tuning(override),
        Contender(
            "fine_tune, tuned", {"name": "fine_tune", "optimizer": "adamw", "backbone_factor": 1.0}, searched, (10,)
        ),
        Contender("feature_transfer, two stages frozen", {"name": "feature_transfer", "stages": 2} | whole),
        Contender("feature_transfer, tunable", {"name": "feature_transfer", "tunable": True} | whole),
        Contender("structure_transfer", {"name": "structure_transfer"} | whole),
        *(Contender(f"{name} on features", {"name": name} | override) for name in CLASSICAL),
        *(_with(term, override) for term in TERMS),
    )


def _garments() -> tuple[Contender, ...]:
    base = {"name": "train", "network": large(5), "input": GARMENT_INPUT} | ADAMW | {"steps": 600}
    axes = [_each("augmentation", "auto", FLIPPED), _each("learning_rate", 1e-3, 3e-3)]
    return (
        replace(SVM, tuned_at=(10,)),
        Contender("scratch", base, axes, (10,)),
        *_tuning({})[:3],
        *(Contender(f"{name} on features", {"name": name}) for name in ("svm", "logistic_regression")),
        *(_with(term, {}) for term in ("l2_sp", "bss", "co_tuning")),
    )


def _students() -> tuple[Contender, ...]:
    base: Method = {"name": "train", "network": student(10), "input": GARMENT_INPUT, "optimizer": "adamw"}
    base |= {"batch_size": 64, "steps": 2000, "augmentation": FLIPPED}
    softened = {"terms": [{"name": "distillation", "teacher": TEACHER, "label_weight": 0.0, "weight": 1.0}]}
    usual = [_each("learning_rate", 0.01, 0.03)]
    at = (STUDENT_LABELS,)
    return (
        Contender("teacher", {"name": "evaluate"}, (), at, at),
        Contender("student alone", base, usual, at, at),
        Contender("student + distillation", base | softened, usual, at, at),
    )


DOMAINS = {
    "digits": Domain(
        "MNIST-5k → optdigits",
        _source(MNIST_INPUT, 10, 40, LARGER),
        data.mnist,
        data.optdigits,
        _digits(),
    ),
    "garments": Domain(
        "Fashion-MNIST, five classes → the other five",
        _source(GARMENT_INPUT, 5, 15, FLIPPED),
        partial(data.garments, range(5), 2000),
        partial(data.garments, range(5, 10), 400),
        _garments(),
        one_origin=True,
    ),
    "distillation": Domain(
        "Fashion-MNIST, a teacher and a student of a tenth of its size",
        _source(GARMENT_INPUT, 10, 15, FLIPPED),
        partial(data.garments, range(10), 1500),
        partial(data.garments, range(10), 400, start=1500),
        _students(),
        teaches=True,
        one_origin=True,
    ),
}
