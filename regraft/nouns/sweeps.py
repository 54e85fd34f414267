"""Sweeps: one job over and over, with parameters that a sampler draws."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from regraft import errors
from regraft.nouns.base import D, Noun, given, waiting
from regraft.standings import Sweep
from regraft.steps import Steps, Stream, call, items
from regraft.types import Event


class Sweeps(Noun[D]):
    @call
    def create(
        self,
        *,
        job: Mapping[str, Any],
        space: Mapping[str, Sequence[Any] | Mapping[str, Sequence[float]]],
        trials: int,
        pruner: Literal["halving", "none"] | None = None,
        budget_s: float | None = None,
        seed: int | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Sweep]:
        """Look for the best parameters of `job`, `{"dataset": …, "checkpoint": …, "method": {…}}`.

        `space` says what is drawn: `{"method.learning_rate": {"log": [1e-4, 1e-1]}, "method.epochs": [5, 10]}`.
        """
        body = {
            "job": job,
            "space": space,
            "trials": trials,
            "pruner": pruner,
            "budget_s": budget_s,
            "seed": seed,
            "name": name,
            "metadata": metadata,
        }
        return (yield from self._post("/v1/sweeps", Sweep, given(body), idempotency_key))

    @call
    def get(self, sweep: str) -> Steps[Sweep]:
        return (yield from self._one(sweep))

    @call
    def wait(
        self, sweep: str, *, timeout_s: float | None = None, seen: Callable[[Sweep], None] | None = None
    ) -> Steps[Sweep]:
        """Wait until there is a winner; `seen` is told each state that was polled.  Raises `Unsuccessful` where no
        trial came to its end, or it was cancelled, and `WaitTimeout`."""
        found = yield from waiting(partial(self._one, sweep), lambda one: one.finished, timeout_s=timeout_s, seen=seen)
        if found.status != "succeeded":
            raise errors.Unsuccessful(found)
        return found

    @call
    def cancel(self, sweep: str) -> Steps[Sweep]:
        """All its jobs are cancelled.  Raises `Conflict` where it has ended."""
        return (yield from self._post(f"/v1/sweeps/{sweep}/cancel", Sweep, {}))

    @call
    def delete(self, sweep: str) -> Steps[None]:
        """Delete a sweep; its jobs stay, and their models.  Raises `Conflict` where it has not ended."""
        yield from self._delete(f"/v1/sweeps/{sweep}")

    @items
    def events(self, sweep: str, *, order: str = "asc", page_size: int = 100) -> Stream[Event]:
        """List what has happened to it so far."""
        yield from self._pages(f"/v1/sweeps/{sweep}/events", Event, {"order": order}, page_size)

    @items
    def list(self, *, order: str = "desc", page_size: int = 20) -> Stream[Sweep]:
        """All sweeps, page after page."""
        yield from self._pages("/v1/sweeps", Sweep, {"order": order}, page_size)

    def _one(self, sweep: str) -> Steps[Sweep]:
        return (yield from self._fetch(f"/v1/sweeps/{sweep}", Sweep))
