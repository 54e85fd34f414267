"""Parameters by which a request asks for a part of a list."""

import re
from typing import Annotated

from fastapi import Depends, Path, Query
from pydantic import AfterValidator, Field

from app.contract.base import ObjectId, Text
from app.core import errors
from app.db.paging import Order, Page

GIVEN = "As it was given when the object was made."
ID = r"[a-z]+_[0-9a-z]{4,40}"
Limit = Annotated[int, Query(ge=1, le=100, description="How many objects at most.")]
NewestFirst = Annotated[Order, Query(description="By age: `desc` gives the newest first.")]
OldestFirst = Annotated[Order, Query(description="By age: `asc` gives the oldest first.")]


async def _page(
    limit: Limit = 20,
    after: Annotated[
        ObjectId | None,
        Query(description="Go on after this object: `last_id` of the page before.  One that is gone is refused."),
    ] = None,
    order: NewestFirst = "desc",
) -> Page:
    return Page(limit, after, order)


async def _names(
    limit: Limit = 20,
    after: Annotated[Annotated[Text, Field(max_length=128)] | None, Query(description="Go on after this name.")] = None,
    order: Annotated[Order, Query(description="By name.")] = "asc",
) -> Page:
    return Page(limit, after, order)


Paging = Annotated[Page, Depends(_page)]
NamePaging = Annotated[Page, Depends(_names)]


def _plausible(object_id: str) -> str:
    """Refuse what can be no id: it need not be looked for, and may be nothing that a database takes."""
    if not re.fullmatch(ID, object_id):
        raise errors.NotFound(f"There is no object {object_id[:80]!a}.")
    return object_id


Id = Annotated[
    str,
    Path(description=GIVEN, json_schema_extra={"pattern": f"^{ID}$"}),
    AfterValidator(_plausible),
]
Cascade = Annotated[bool, Query(description="Delete all that depends on it, too.")]
