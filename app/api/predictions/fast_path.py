"""The fast path of prediction: one image as the body of a plain request, answered without the framework.

It gives what the routes of models and checkpoints give, which take every other request: forms and JSON, requests with
an Idempotency-Key, and those with anything unusual about them.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import bodies, dependencies, problems
from app.api.headers import guards
from app.api.load_shedding import PATH
from app.api.predictions import answering
from app.api.services import Services
from app.api.ttl_cache import TtlCache
from app.checkpoints import service as checkpoints
from app.core import errors
from app.db.tables import ServableRow as Row
from app.keys import service as keys
from app.models import service as models
from app.serving.service import Precision, Servable

log = logging.getLogger(__name__)

_PATH = re.compile(PATH)
_QUERY = re.compile(rb"(?:top_k=([1-9]\d{0,2}|1000))?(?:(?:^|&)precision=(float32|int8))?")
_RawAnswer = tuple[int, list[tuple[bytes, bytes]], bytes]  # status, headers, body
_GOOD = [*guards(), (b"content-type", b"application/json")]
_FIND: dict[str, Callable[[Session, str, str], Row]] = {
    "models": models.answering,
    "checkpoints": checkpoints.answering,
}


class _Head(NamedTuple):
    noun: str
    id: str
    key: str
    precision: Precision
    top_k: int | None
    announced: int

    @property
    def name(self) -> tuple[str, str, str, Precision]:
        return self[:4]


class _Served(NamedTuple):
    identity: keys.Identity
    row: Row
    servable: Servable


class FastPredictions:
    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services
        self._known: TtlCache[_Served] = TtlCache(services.database)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _head(scope)
        if head is None:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        try:
            status, headers, body = 200, _GOOD, await self._answer(head, scope["path"], receive)
        except errors.Overloaded:
            status, headers, body = OVERLOADED
        except errors.RegraftError as error:
            status, headers, body = _refusal(error)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("POST %s", scope["path"])
            status, headers, body = _refusal(errors.RegraftError())
        self._services.meters.note("POST", f"/v1/{head.noun}/{{id}}/predictions", status, time.perf_counter() - began)
        await _send(send, status, headers, body)

    async def _answer(self, head: _Head, path: str, receive: Receive) -> bytes:
        # the key first: whoever has none does not get a byte of the body read
        served = self._known.now(head.name) or await self._known.get(head.name, lambda db: _look(db, head))
        if served.identity.rate_limit is not None:
            await run_in_threadpool(keys.spend, self._services.database, served.identity)
        owner, most = served.identity.owner, self._services.settings.max_predict_bytes
        room = self._services.room
        with room.held(owner) as held:
            image = await bodies.received(receive, most, head.announced, room, held)
            predictions = await answering.asked(self._services, path, served.servable, [image], owner=owner)
            return answering.encoded(answering.classified(head.top_k)(served.row, predictions))


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def _refusal(error: errors.RegraftError) -> _RawAnswer:
    answer = problems.answer(error)
    own = [(name, value) for name, value in answer.raw_headers if name != b"content-length"]
    return answer.status_code, [*guards(answer.headers), *own], bytes(answer.body)


OVERLOADED = _refusal(errors.Overloaded(retry_after_s=1))


def _head(scope: Scope) -> _Head | None:
    """The request's head, parsed; None unless the request is one for the fast path."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    path, query = _PATH.fullmatch(scope["path"]), _QUERY.fullmatch(scope["query_string"])
    if path is None or query is None:
        return None
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"")
    if b"idempotency-key" in headers or not kind.startswith((b"image/", b"application/octet-stream")):
        return None
    key = headers.get(b"authorization", b"").decode("latin-1")
    announced = _announced(headers)
    precision: Precision = "int8" if query[2] == b"int8" else "float32"
    return _Head(path[1], path[2], key, precision, int(query[1]) if query[1] else None, announced)


def _announced(headers: dict[bytes, bytes]) -> int:
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


def _look(db: Session, head: _Head) -> _Served:
    identity = keys.authenticate(db, dependencies.bearer(head.key))
    dependencies.require(identity, "predict")
    row = _FIND[head.noun](db, identity.owner, head.id)
    return _Served(identity, row, Servable.of(row, head.precision))
