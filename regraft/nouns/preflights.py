"""Preflights: what a job would take, measured before it is submitted."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from regraft import errors
from regraft.nouns.base import D, Noun, given, waiting
from regraft.steps import Steps, call
from regraft.types import Preflight


class Preflights(Noun[D]):
    @call
    def create(
        self,
        *,
        method: str | Mapping[str, Any],
        dataset: str,
        checkpoint: str | None = None,
        source_dataset: str | None = None,
        seed: int | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Preflight]:
        """Have a worker rehearse a job, as `jobs.create` takes it: all that it does once, and a few of its steps.
        `wait` for the answer; what was measured before is ready at once."""
        body = {
            "method": {"name": method} if isinstance(method, str) else method,
            "dataset": dataset,
            "checkpoint": checkpoint,
            "source_dataset": source_dataset,
            "seed": seed,
        }
        path = "/v1/jobs/preflight?measure=true"
        return (yield from self._post(path, Preflight, given(body), idempotency_key))

    @call
    def get(self, preflight: str) -> Steps[Preflight]:
        return (yield from self._one(preflight))

    @call
    def wait(
        self,
        preflight: str,
        *,
        timeout_s: float | None = None,
        seen: Callable[[Preflight], None] | None = None,
    ) -> Steps[Preflight]:
        """Wait until it is measured; `seen` is told each state that was polled.  Raises `Unsuccessful` where that
        failed, and `WaitTimeout`."""
        one = partial(self._one, preflight)
        found = yield from waiting(one, lambda state: state.finished, timeout_s=timeout_s, seen=seen)
        if found.status != "ready":
            raise errors.Unsuccessful(found)
        return found

    @call
    def delete(self, preflight: str) -> Steps[None]:
        """One that is under way stops."""
        yield from self._delete(f"/v1/jobs/preflights/{preflight}")

    def _one(self, preflight: str) -> Steps[Preflight]:
        return (yield from self._fetch(f"/v1/jobs/preflights/{preflight}", Preflight))
