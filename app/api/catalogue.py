"""`/v1/methods` and `/v1/networks`: what can be named."""

from functools import cache
from typing import Annotated

from fastapi import APIRouter, Query

from app.api import bodies
from app.api.dependencies import Reader
from app.api.pagination import NamePaging
from app.api.schemas.catalogue import MethodEntry, Network
from app.api.schemas.common import Listing
from app.contract.base import Text
from app.db.paging import Page
from app.methods.registry import OFFERED
from app.networks import service as networks

router = APIRouter(prefix="/v1", tags=["catalogue"], route_class=bodies.Route)


@router.get("/methods", summary="What a job can do")
def methods(caller: Reader, page: NamePaging) -> Listing[MethodEntry]:
    """Each with the JSON Schema of its parameters, what it needs, and when it is the right choice."""
    return Listing.of([_entry(name) for name in _names(page)], page.limit)


@router.get("/networks", summary="What networks there are")
def networks_(
    caller: Reader, page: NamePaging, contains: Annotated[Text | None, Query(max_length=128)] = None
) -> Listing[Network]:
    """The list has whatever networks the workers can build; it is empty until one has said so."""
    return caller.reads(
        lambda db: Listing.of([Network.of(row) for row in networks.page(db, page, contains)], page.limit)
    )


@cache
def _entry(name: str) -> MethodEntry:
    return MethodEntry.of(name, OFFERED[name])


def _names(page: Page) -> list[str]:
    names = sorted(OFFERED, reverse=page.order == "desc")
    if page.after is not None:
        names = [name for name in names if (name > page.after) == (page.order == "asc") and name != page.after]
    return names[: page.limit + 1]
