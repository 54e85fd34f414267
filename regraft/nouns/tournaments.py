"""Tournaments: jobs that race on a dataset until one has won."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from regraft import errors
from regraft.nouns.base import D, Noun, given, waiting
from regraft.standings import Tournament
from regraft.steps import Steps, Stream, call, items
from regraft.types import Event


class Tournaments(Noun[D]):
    @call
    def create(
        self,
        *,
        dataset: str,
        candidates: Sequence[Mapping[str, Any]] | Literal["recommended"] = "recommended",
        recommendation: str | None = None,
        max_jobs: int | None = None,
        budget_s: float | None = None,
        seed: int | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Tournament]:
        """Let `candidates` race, `{"checkpoint": …, "method": {…}}` each, or the first entries of a recommendation: of
        the one that is given, or of the newest for the dataset.  The checkpoints unchanged and a network from scratch
        race, too.  `budget_s` bounds the seconds that all jobs take together, but for those until the first rung."""
        body = {
            "dataset": dataset,
            "candidates": candidates,
            "recommendation": recommendation,
            "max_jobs": max_jobs,
            "budget_s": budget_s,
            "seed": seed,
            "name": name,
            "metadata": metadata,
        }
        return (yield from self._post("/v1/tournaments", Tournament, given(body), idempotency_key))

    @call
    def get(self, tournament: str) -> Steps[Tournament]:
        return (yield from self._one(tournament))

    @call
    def wait(
        self,
        tournament: str,
        *,
        timeout_s: float | None = None,
        seen: Callable[[Tournament], None] | None = None,
    ) -> Steps[Tournament]:
        """Wait until there is a winner; `seen` is told each state that was polled.  Raises `Unsuccessful` where no
        candidate came to its end, or it was cancelled, and `WaitTimeout`."""
        found = yield from waiting(
            partial(self._one, tournament), lambda one: one.finished, timeout_s=timeout_s, seen=seen
        )
        if found.status != "succeeded":
            raise errors.Unsuccessful(found)
        return found

    @call
    def cancel(self, tournament: str) -> Steps[Tournament]:
        """All its jobs are cancelled.  Raises `Conflict` where it has ended."""
        return (yield from self._post(f"/v1/tournaments/{tournament}/cancel", Tournament, {}))

    @call
    def delete(self, tournament: str) -> Steps[None]:
        """Delete a tournament; its jobs stay, and their models.  Raises `Conflict` where it has not ended."""
        yield from self._delete(f"/v1/tournaments/{tournament}")

    @items
    def events(self, tournament: str, *, order: str = "asc", page_size: int = 100) -> Stream[Event]:
        """List what has happened to it so far."""
        yield from self._pages(f"/v1/tournaments/{tournament}/events", Event, {"order": order}, page_size)

    @items
    def list(self, *, order: str = "desc", page_size: int = 20) -> Stream[Tournament]:
        """All tournaments, page after page."""
        yield from self._pages("/v1/tournaments", Tournament, {"order": order}, page_size)

    def _one(self, tournament: str) -> Steps[Tournament]:
        return (yield from self._fetch(f"/v1/tournaments/{tournament}", Tournament))
