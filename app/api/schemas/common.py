"""Shapes that several nouns share.  docs/api.md shows them; outside readers rely on them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.contract.base import Text
from app.db.tables import Document, Task

Metadata = Annotated[
    dict[Annotated[Text, Field(min_length=1, max_length=64)], Annotated[Text, Field(max_length=512)]],
    Field(max_length=16, description="Your own labels, kept and returned as they are."),
]
Name = Annotated[Text, Field(min_length=1, max_length=256)]
ClassNames = Annotated[list[Name], Field(min_length=1, max_length=100_000)]


class Shape(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(from_attributes=True)


class Listed(Shape):
    """What can stand in a list: its id is the cursor."""

    id: str


class Object(Listed):
    """What every object carries."""

    created_at: datetime


Item = TypeVar("Item", bound=Listed)


class Listing(Shape, Generic[Item]):
    """A page of a list; `?after=<last_id>` goes on from there."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, items: Sequence[Item], limit: int) -> Self:
        """Of up to `limit` + 1 items: the one too many says that there are more."""
        data = list(items[:limit])
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=len(items) > limit)


class ProblemDetail(Shape):
    """One fault of a request: `param` is the dotted path of the field, `code` the kind of fault."""

    param: str
    detail: str
    code: str


class Problem(Shape):
    """Why a request was refused (RFC 9457).  Act on `code`; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    param: str | None = None
    errors: list[ProblemDetail] | None = None


class Warned(Shape):
    """What somebody should know of an object that is usable all the same: a stable code, and a sentence."""

    code: str
    message: str


class Fault(Shape):
    """Why a background step failed: a stable code, and what to change."""

    code: str
    message: str

    @classmethod
    def of(cls, task: Task) -> Self | None:
        if task.error_code is None:
            return None
        return cls(code=task.error_code, message=task.error_message or "")


class NetworkShape(Shape):
    """A network as a request would name it."""

    name: str
    num_classes: int
    options: dict[str, Any]

    @classmethod
    def of(cls, network: Document) -> Self | None:
        """None for a pretrained network that has not been fetched yet: its classes are not known."""
        return None if network["num_classes"] is None else cls.model_validate(network)


class InputShape(Shape):
    """Pixels scaled to 0–1, then `(x - mean) / std` per channel, at `size` = [height, width]."""

    size: tuple[int, int]
    channels: int
    mean: list[float]
    std: list[float]
    fit: str
    margin: int


class Measured(Shape):
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
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    nll: float
    ece: float
    per_class: list[float | None]
    confusion: list[list[int]] | None


class Opponent(Shape):
    """What else the labels could have been spent on, or why it could not: the model's accuracy less this one's, in
    fractions of 1, on the same images."""

    name: Literal["unchanged", "linear_probe", "scratch"]
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    reason: str | None = None


class Guard(Shape):
    """Whether the transfer helped: `helped` is against `scratch` (`guard: true`), or against `unchanged` where a method
    learns without the target's labels; null where that is not clear.  `regressions` are those that are clearly better.
    """

    against: list[Opponent]
    helped: bool | None
    regressions: list[str]
    verdict: str


class Compared(Shape):
    """One of the two networks of an ablation, and what its images were brought to."""

    accuracy: float
    accuracy_interval: tuple[float, float]
    input: InputShape


class Ablation(Shape):
    """What a rule is worth: a network that learned under it and one that did not, on the same test images.

    `difference` is the accuracy `with` less that `without`, `interval` its 95 % interval; `helped` is null where that
    holds zero.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    with_: Annotated[Compared, Field(alias="with")]
    without: Compared
    difference: float
    interval: tuple[float, float]
    helped: bool | None


class Evaluation(Shape):
    """Measured once, at the end, on the target's test split; on the source's too, where its dataset is known."""

    model_config = ConfigDict(extra="allow")

    target: Measured
    source: Measured | None = None
    labels_used: str
    guard: Guard | None = None
    ablation: Ablation | None = None
