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
    """An object that can stand in a list: its id is the cursor."""

    id: str


class Object(Listed):
    """Fields that every object carries."""

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
        """A page made of up to `limit` + 1 items: the one too many says that there are more."""
        data = list(items[:limit])
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=len(items) > limit)


class ProblemDetail(Shape):
    """One fault of a request: `param` is the dotted path of the field, `code` the kind of fault."""

    param: str
    detail: str
    code: str


class Problem(Shape):
    """The reason why a request was refused (RFC 9457).  Act on `code`; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    param: str | None = None
    errors: list[ProblemDetail] | None = None


class Warned(Shape):
    """A warning about an object that is usable all the same: a stable code, and a sentence."""

    code: str
    message: str


class Fault(Shape):
    """The reason why a background task failed: a stable code, and what to change."""

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
        """The network as it is shown; None for a pretrained one that has not been fetched yet: its classes are not
        known."""
        return None if network["num_classes"] is None else cls.model_validate(network)
