"""Recommendations: what to try on a dataset, before anything is trained."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from regraft import errors
from regraft.nouns.base import D, Noun, given, waiting
from regraft.nouns.files import Source
from regraft.nouns.label_lists import Label, listed
from regraft.steps import Steps, Stream, call, items
from regraft.types import Calibration, Event, Job, Outcome, Recommendation, ToLabel
from regraft.wire import Request


class Recommendations(Noun[D]):
    @call
    def create(
        self,
        *,
        dataset: str,
        checkpoints: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        source_dataset: str | None = None,
        labels: int | Literal["all", "none"] | None = None,
        objective: str | None = None,
        budget_s: float | None = None,
        images: int | None = None,
        seed: int | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Recommendation]:
        """Ask what to try on a dataset: of these `checkpoints` and models, or of the newest that are ready; of these
        `methods`, or of all that forecasts are made for.  `labels` is how many of a class may be seen.
        `objective` is what is ranked by: `accuracy`, `accuracy_per_second`, `small` or `keep_source`; what takes longer
        than `budget_s` is left out.  Measured in the background: `wait`; what is known meanwhile is among the
        entries."""
        body = {
            "dataset": dataset,
            "checkpoints": checkpoints,
            "methods": methods,
            "source_dataset": source_dataset,
            "labels": labels,
            "objective": objective,
            "budget_s": budget_s,
            "images": images,
            "seed": seed,
        }
        return (yield from self._post("/v1/recommendations", Recommendation, given(body), idempotency_key))

    @call
    def get(self, recommendation: str) -> Steps[Recommendation]:
        return (yield from self._one(recommendation))

    @call
    def wait(
        self,
        recommendation: str,
        *,
        timeout_s: float | None = None,
        seen: Callable[[Recommendation], None] | None = None,
    ) -> Steps[Recommendation]:
        """Wait until everything is measured; `seen` is told each state that was polled.  Raises `Unsuccessful` where
        that failed, and `WaitTimeout`."""
        found = yield from waiting(
            partial(self._one, recommendation), lambda one: one.finished, timeout_s=timeout_s, seen=seen
        )
        if found.status != "ready":
            raise errors.Unsuccessful(found)
        return found

    @call
    def submit(
        self,
        recommendation: str,
        *,
        rank: int = 1,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Job]:
        """Submit an entry, the first unless told, as a job; it stands among the recommendation's `jobs`."""
        body = {"rank": rank, "name": name, "metadata": metadata}
        path = f"/v1/recommendations/{recommendation}/jobs"
        return (yield from self._post(path, Job, given(body), idempotency_key))

    @call
    def to_label(self, recommendation: str, *, n: int | None = None) -> Steps[ToLabel]:
        """Up to `n` images to label next, the first worth most."""
        return (yield from self._fetch(f"/v1/recommendations/{recommendation}/to_label", ToLabel, given({"n": n})))

    @call
    def label_studio(self, recommendation: str, *, n: int | None = None) -> Steps[bytes]:
        """A file of those images as tasks that Label Studio imports."""
        path = f"/v1/recommendations/{recommendation}/to_label/label_studio"
        response = yield from self._send(Request("GET", path, repeatable=True, params=given({"n": n})))
        return response.content

    @call
    def label(
        self,
        recommendation: str,
        labels: Source | Mapping[str, Label],
        *,
        columns: Mapping[str, str] | None = None,
        labels_per_class: int | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Recommendation]:
        """Ask again with these labels: a table that is uploaded first, or labels by image (see `datasets.revise`).
        Makes a new recommendation, about a revision of the dataset: `wait` for it.  All labels that the revision has
        are seen, or `labels_per_class` of each class, whatever was asked before."""
        said = yield from listed(self._send, labels)
        body = given({"labels": said, "columns": columns, "labels_per_class": labels_per_class})
        path = f"/v1/recommendations/{recommendation}/labels"
        return (yield from self._post(path, Recommendation, body, idempotency_key))

    @call
    def calibration(self) -> Steps[Calibration]:
        """The report card of your recommendations: how often their forecasts held."""
        return (yield from self._fetch("/v1/calibration", Calibration))

    @call
    def outcome(self, recommendation: str) -> Steps[Outcome]:
        """The forecasts beside what finished jobs made of the same."""
        return (yield from self._fetch(f"/v1/recommendations/{recommendation}/outcome", Outcome))

    @call
    def delete(self, recommendation: str) -> Steps[None]:
        """The jobs that came of it stay."""
        yield from self._delete(f"/v1/recommendations/{recommendation}")

    @items
    def events(self, recommendation: str, *, order: str = "asc", page_size: int = 100) -> Stream[Event]:
        """List what has happened to it so far."""
        yield from self._pages(f"/v1/recommendations/{recommendation}/events", Event, {"order": order}, page_size)

    @items
    def list(self, *, order: str = "desc", page_size: int = 20) -> Stream[Recommendation]:
        """All recommendations, page after page, with the first five entries of each."""
        yield from self._pages("/v1/recommendations", Recommendation, {"order": order}, page_size)

    def _one(self, recommendation: str) -> Steps[Recommendation]:
        return (yield from self._fetch(f"/v1/recommendations/{recommendation}", Recommendation))
