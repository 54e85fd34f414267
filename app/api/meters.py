"""Metrics for Prometheus: requests by route, and the process itself."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Meters:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "regraft_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "regraft_request_seconds",
            "Until the first byte of the answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.steps = Gauge(
            "regraft_steps",
            "Background steps that have not ended.",
            ["kind", "status"],
            registry=self.registry,
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request, answered with `status` after `seconds`."""
        counter, histogram = self._series(method, route, status)
        counter.inc()
        histogram.observe(seconds)

    def _series(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Looked up once: that takes longer than counting."""
        name = method, route, status
        if name not in self._known:
            self._known[name] = self.requests.labels(*name), self.seconds.labels(method, route)
        return self._known[name]


class Metered:
    """Counts and times every request by the route that took it."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._note(scope, status, time.perf_counter() - begun)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if not status:  # the outermost layer is going to answer 500
                self._note(scope, 500, time.perf_counter() - begun)
            raise

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")  # never the path itself, of which there are endlessly many
        self._meters.note(scope["method"] if route != "none" else "any", route, status, seconds)
