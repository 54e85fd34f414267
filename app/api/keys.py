"""`/v1/keys`: for administrators."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from app.api import bodies, examples, openapi
from app.api.dependencies import Admin, Administrator
from app.api.pagination import Id, Paging
from app.api.schemas.common import Listing
from app.api.schemas.keys import Key, NewKey
from app.core import errors
from app.keys import service as keys

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=bodies.Route)


@router.post("", status_code=201, response_model=Key, summary="Make a key", responses=openapi.refusals(*openapi.BODY))
def create(body: Annotated[NewKey, Body(openapi_examples=examples.NEW_KEY)], sender: Administrator) -> Response:
    """The secret is in `key` of this answer and nowhere else, not even when the request is sent again."""
    return sender.once(
        lambda db: Key.of(*keys.create(db, sender.owner, made_by=sender.key_id, **body.model_dump())),
        kept=lambda key: key.model_copy(update={"key": None}),
    )


@router.get("", summary="List the keys that you made")
def index(caller: Admin, page: Paging) -> Listing[Key]:
    """The list also has the keys that were made by administrators to whom you gave their keys, whether these still have
    them or not."""
    return caller.reads(lambda db: Listing.of([Key.of(row) for row in keys.page(db, caller.owner, page)], page.limit))


@router.get("/{id}", summary="One key", responses=openapi.refusals(errors.NotFound))
def get(id: Id, caller: Admin) -> Key:
    return caller.reads(lambda db: Key.of(keys.get(db, caller.owner, id)))


@router.delete("/{id}", status_code=204, summary="Revoke a key", responses=openapi.refusals(errors.NotFound))
def delete(
    id: Id,
    caller: Admin,
    cascade: Annotated[bool, Query(description="All keys that it made, too, and those that these made.")] = False,
) -> None:
    """The key is refused from the next request on.  What it made of keys stays valid, and in your list, unless you say
    `cascade`."""
    caller.writes(lambda db: keys.revoke(db, caller.owner, id, cascade=cascade))
