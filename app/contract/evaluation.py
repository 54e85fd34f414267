"""Evaluations: measured by the worker, stored and shown by the API, read by card, report and page."""

from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from app.contract.inputs import InputShape
from app.contract.record import Record

Value = TypeVar("Value")
Interval = tuple[float, float]
OpponentName = Literal["unchanged", "linear_probe", "scratch"]
Some = Annotated[Value | None, SkipJsonSchema()]  # only some evaluations have it: absent in the others, not null


class Figures(Record):
    """The figures of one decision on some images, as fractions of 1; the interval is of 95 %."""

    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    nll: float
    ece: float


class Before(Record):
    """The figures of the source before the transfer, on its own test split."""

    accuracy: float
    accuracy_interval: Interval
    nll: float


class Uncalibrated(Record):
    """The figures that calibration changes, as they were without it."""

    nll: float | None = None
    ece: float | None = None


class Calibration(Record):
    """The temperature that the scores were divided by, and the figures without it."""

    temperature: float
    before: Uncalibrated


class Measured(Record):
    """Figures of one split, as fractions of 1; the interval is of 95 %.  `confusion[i][j]`: class i taken for j;
    null for very many classes.  `per_class` is each class's recall.

    Figures are of the decision that is served.  Where network and dataset share only some classes, `classes` names
    them; where the network has others, `taken_for_other_classes` counts the images that were taken for one of these,
    and `among_shared` has the figures of the decision among the shared classes alone; where the dataset has others,
    `left_out` counts their images, which are in no figure.

    Where an image has any number of labels: `map`, `average_precision` (by class), `macro_f1` and `micro_f1`, too.
    """

    model_config = ConfigDict(extra="allow")

    split: str
    n: int
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    nll: float
    ece: float
    per_class: list[float | None]
    confusion: list[list[int]] | None
    map: Some[float] = None
    average_precision: Some[list[float | None]] = None
    macro_f1: Some[float] = None
    micro_f1: Some[float] = None
    among_shared: Some[Figures] = None
    taken_for_other_classes: Some[int] = None
    classes: Some[list[str]] = None
    left_out: Some[int] = None
    calibration: Some[Calibration] = None
    before: Some[Before] = None
    head: Some[Literal["adapted", "source"]] = None


class Opponent(Record):
    """An alternative use of the labels, or the reason why there was none: the accuracy of the model less that of this
    one, in fractions of 1, on the same images."""

    NULLS: ClassVar[frozenset[str]] = frozenset({"accuracy", "accuracy_interval", "difference", "interval", "reason"})

    name: OpponentName
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    difference: float | None = None
    interval: Interval | None = None
    reason: str | None = None


class Guard(Record):
    """The verdict whether the transfer helped: `helped` is against `scratch` (`guard: true`), or against
    `unchanged` where a method learns without the target's labels; null where that is not clear.  `regressions` are
    those that are clearly better."""

    against: list[Opponent]
    helped: bool | None
    regressions: list[str]
    verdict: str


class Compared(Record):
    """One of the two networks of an ablation, and what its images were brought to."""

    accuracy: float
    accuracy_interval: Interval
    input: InputShape


class Ablation(Record):
    """The worth of a rule: a network that learned under it and one that did not, on the same test images.

    `difference` is the accuracy `with` less that `without`, `interval` its 95 % interval; `helped` is null where that
    holds zero.
    """

    with_: Annotated[Compared, Field(alias="with")]
    without: Compared
    difference: float
    interval: Interval
    helped: bool | None


class Evaluation(Record):
    """Measured once, at the end, on the target's test split; on the source's too, where its dataset is known."""

    NULLS: ClassVar[frozenset[str]] = frozenset({"source", "guard", "ablation"})

    model_config = ConfigDict(extra="allow")

    target: Measured
    source: Measured | None = None
    labels_used: str
    guard: Guard | None = None
    ablation: Ablation | None = None
