"""Events of a job, a checkpoint or a dataset: a list, or a stream until its background task has ended."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api import openapi, sse
from app.api.dependencies import Caller, Reader
from app.api.pagination import Id, Limit, OldestFirst
from app.api.schemas.common import Listing
from app.api.schemas.events import Event
from app.api.services import Services, ServicesDep
from app.core import errors
from app.db.tables import EventRow as Row
from app.keys import service as keys
from app.queue import service as queue

SEQ = r"^(event_)?\d{1,18}$"
FRAME = 500  # events that are read at once for a stream

Get = Callable[[Session, str, str], object]


def add_route(router: APIRouter, get: Get) -> None:
    """`GET …/{id}/events`; `get(db, owner, id)` raises NotFound where the owner has no such object."""

    @router.get(
        "/{id}/events",
        response_model=Listing[Event],
        operation_id=f"{router.tags[0]}_events",
        summary="What has happened",
        responses={
            200: {"description": "A list, or a stream until it has ended.", "content": {sse.MEDIA_TYPE: {}}},
            **openapi.refusals(errors.NotFound, errors.RateLimited, errors.TooManyStreams),
        },
    )
    async def events(
        id: Id,
        request: Request,
        caller: Reader,
        services: ServicesDep,
        limit: Limit = 20,
        after: Annotated[str | None, Query(pattern=SEQ, description="Go on after this event.")] = None,
        order: OldestFirst = "asc",
        last_event_id: Annotated[
            str | None, Header(pattern=SEQ, description="Of a stream: go on after this event.")
        ] = None,
    ) -> Listing[Event] | Response:
        """Events come as they happen with `Accept: text/event-stream`, for as long as your key is valid."""
        if sse.MEDIA_TYPE in request.headers.get("Accept", ""):
            await run_in_threadpool(caller.reads, lambda db: get(db, caller.owner, id))
            if not services.followers.take(caller.owner):
                raise errors.TooManyStreams(retry_after_s=5)
            from_ = _seq(last_event_id or after) or 0
            stream = sse.stream(services.feed, _reader(caller, get, id), _valid(caller, services), id, from_)
            return sse.Following(stream, services.followers, caller.owner)
        rows = await run_in_threadpool(caller.reads, lambda db: _events(db, caller, get, id, _seq(after), order, limit))
        return Listing.of([Event.of(row) for row in rows], limit)


def _events(
    db: Session, caller: Caller, get: Get, subject: str, after: int | None, order: OldestFirst, limit: int
) -> list[Row]:
    get(db, caller.owner, subject)
    return queue.events(db, subject, after=after, order=order, limit=limit + 1)


def _reader(caller: Caller, get: Get, subject: str) -> Callable[[int], list[Row]]:
    def read(after: int) -> list[Row]:
        try:
            return caller.reads(lambda db: _events(db, caller, get, subject, after, "asc", FRAME))
        except (errors.NotFound, errors.Unavailable):  # it was deleted meanwhile; or there is nothing just now
            return []

    return read


def _valid(caller: Caller, services: Services) -> sse.Valid:
    async def valid() -> bool:
        try:
            return await services.alive.get(caller.key_id, lambda db: keys.alive(db, caller.key_id))
        except errors.Unavailable:  # there is nothing to be known just now
            return True

    return valid


def _seq(event: str | None) -> int | None:
    """The number of an event that is named by its id, or by the number itself."""
    return None if event is None else int(event.removeprefix("event_"))
