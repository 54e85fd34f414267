"""Jobs: one adaptation each, from submission to model."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from regraft import errors
from regraft.nouns.base import D, Noun, given, waiting
from regraft.nouns.events import following
from regraft.steps import Steps, Stream, call, items
from regraft.types import Event, Job, Metric


class Jobs(Noun[D]):
    @call
    def create(
        self,
        *,
        method: str | Mapping[str, Any],
        dataset: str,
        checkpoint: str | None = None,
        source_dataset: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: str | None = None,
        max_seconds: float | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Job]:
        """`method` is a name, or a name with parameters: `{"name": "fine_tune", "labels_per_class": 10}`.

        What is left out is resolved by the service and echoed in the job's `method`.  `priority` is `low`, `normal` or
        `high` among your own jobs; a job that runs for longer than `max_seconds` fails.
        """
        body = {
            "method": {"name": method} if isinstance(method, str) else method,
            "dataset": dataset,
            "checkpoint": checkpoint,
            "source_dataset": source_dataset,
            "seed": seed,
            "name": name,
            "metadata": metadata,
            "priority": priority,
            "max_seconds": max_seconds,
        }
        return (yield from self._post("/v1/jobs", Job, given(body), idempotency_key))

    @call
    def get(self, job: str) -> Steps[Job]:
        return (yield from self._one(job))

    @call
    def wait(
        self,
        job: str,
        *,
        timeout_s: float | None = None,
        check: bool = True,
        seen: Callable[[Job], None] | None = None,
    ) -> Steps[Job]:
        """Wait until the job has finished; `seen` is told each state that was polled.

        Raises `Unsuccessful` where it failed or was cancelled, unless `check` is false, and `WaitTimeout`.
        """
        found = yield from waiting(partial(self._one, job), lambda one: one.finished, timeout_s=timeout_s, seen=seen)
        if check and found.status != "succeeded":
            raise errors.Unsuccessful(found)
        return found

    @call
    def cancel(self, job: str) -> Steps[Job]:
        """A queued job is cancelled at once, a running one within a batch.  Raises `Conflict` where it has finished."""
        return (yield from self._move(job, "cancel"))

    @call
    def pause(self, job: str) -> Steps[Job]:
        """A running job stops at its next snapshot, and stays `running` until then."""
        return (yield from self._move(job, "pause"))

    @call
    def resume(self, job: str) -> Steps[Job]:
        """A paused job goes on exactly where it stopped."""
        return (yield from self._move(job, "resume"))

    @call
    def retry(self, job: str) -> Steps[Job]:
        """A failed or cancelled job is queued again."""
        return (yield from self._move(job, "retry"))

    @call
    def metrics(self, job: str, *, name: str | None = None) -> Steps[Sequence[Metric]]:
        """All points of all series, or of one."""
        document = yield from self._document(f"/v1/jobs/{job}/metrics", given({"name": name}))
        return [Metric.model_validate(point) for point in document["data"]]

    @call
    def delete(self, job: str, *, cascade: bool = False) -> Steps[None]:
        yield from self._delete(f"/v1/jobs/{job}", cascade=cascade)

    @items
    def events(self, job: str, *, order: str = "asc", page_size: int = 100) -> Stream[Event]:
        """List what has happened to the job so far."""
        yield from self._pages(f"/v1/jobs/{job}/events", Event, {"order": order}, page_size)

    @items
    def stream(self, job: str, *, after: str | None = None) -> Stream[Event]:
        """Events as they happen, until the job has finished; a lost connection is taken up after the last event."""
        return following(self._send, partial(self._one, job), job, after, self._retry)

    @items
    def list(
        self,
        *,
        status: str | None = None,
        method: str | None = None,
        checkpoint: str | None = None,
        dataset: str | None = None,
        order: str = "desc",
        page_size: int = 100,
    ) -> Stream[Job]:
        """All jobs, page after page."""
        params = {"status": status, "method": method, "checkpoint": checkpoint, "dataset": dataset, "order": order}
        yield from self._pages("/v1/jobs", Job, params, page_size)

    def _one(self, job: str) -> Steps[Job]:
        return (yield from self._fetch(f"/v1/jobs/{job}", Job))

    def _move(self, job: str, verb: str) -> Steps[Job]:
        return (yield from self._post(f"/v1/jobs/{job}/{verb}", Job, {}))
