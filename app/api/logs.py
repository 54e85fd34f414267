"""A line for each request that was answered: who asked for what, with what status and in what time."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

WATCHED = ("/healthz", "/readyz", "/metrics")  # asked for every few seconds by whatever watches the service
LONGEST = 300  # characters of a path


class Logged:
    """Around all else.  What is refused before it is a request (see `load_shedding`, `connections`) is only counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        level = logging.DEBUG if scope.get("path") in WATCHED else logging.INFO
        if scope["type"] != "http" or not log.isEnabledFor(level):
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            address = scope["client"][0] if scope.get("client") else "-"
            # as it came, so that nothing in it ends the line; without the query, which is the caller's own
            path = scope["raw_path"].decode("latin-1")[:LONGEST]
            took_ms = (time.perf_counter() - began) * 1000
            log.log(level, "%s %s %s %s %.1f ms", address, scope["method"], path, status or "unanswered", took_ms)
