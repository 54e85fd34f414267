"""Benchmarks over HTTP, on a service whose folder stays: what was made there is not made twice."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contest.kept import Kept
from regraft import Client
from regraft.errors import ApiError
from regraft.processes import Server
from regraft.types import Job

Pack = Callable[[Path], None]


@dataclass(frozen=True)
class Outcome:
    """A job's accuracies, 0 to 1, on the target's test split and, where that is known, on the source's.

    `model` is None where the model was not to be kept; `refused` is why there was no job, or none that succeeded.
    """

    target: float | None = None
    source: float | None = None
    source_before: float | None = None
    images: int = 0
    seconds: float | None = None
    model: str | None = None
    warnings: tuple[str, ...] = ()
    refused: str | None = None


class Bench:
    """Datasets, checkpoints and jobs by what was asked for: each is made once, and found again in later runs.

    Refusals and failures are not kept: the next run tries again.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self._client, self._folder = client, folder
        self._kept = Kept(folder / "ledger.jsonl")

    def dataset(self, name: str, pack: Pack, **options: Any) -> str:
        """The id of a dataset; `pack` writes its archive to the path that it is given."""

        def make() -> str:
            archive = self._folder / "archive.zip"
            pack(archive)
            file = self._client.files.upload(archive)
            archive.unlink()
            return self._client.datasets.wait(self._client.datasets.create(name=name, file=file.id, **options).id).id

        return self._once({"dataset": name, **options}, make)

    def checkpoint(self, name: str, weights: Path, **options: Any) -> str:
        def make() -> str:
            file = self._client.files.upload(weights)
            created = self._client.checkpoints.create(name=name, file=file.id, **options)
            return self._client.checkpoints.wait(created.id).id

        return self._once({"checkpoint": name, **options}, make)

    def job(self, what: str, *, keep: bool = False, **request: Any) -> Outcome:
        """The outcome of a job; `keep`: its model stays, for others to start from."""
        key = _key(request | {"keep": keep})
        if key not in self._kept:
            outcome = self._run(request, keep)
            print(f"{what}: {_said(outcome)}", flush=True)
            if outcome.refused:
                return outcome
            self._kept.add(key, {"what": what} | asdict(outcome))
        found = {name: self._kept[key][name] for name in Outcome.__dataclass_fields__}
        return Outcome(**found | {"warnings": tuple(found["warnings"])})

    def figure(self, what: str, asked: dict[str, Any], measure: Callable[[], float]) -> float:
        """A figure that is no job's."""
        key = _key(asked)
        if key not in self._kept:
            value = self._kept.add(key, {"what": what, "figure": measure()})["figure"]
            print(f"{what}: {100 * value:.2f} %", flush=True)
        return float(self._kept[key]["figure"])

    def _run(self, request: dict[str, Any], keep: bool) -> Outcome:
        jobs = self._client.jobs
        try:
            job = jobs.wait(jobs.create(**request).id, check=False)
        except ApiError as error:
            return Outcome(refused=str(error))
        outcome = _outcome(job, keep)
        if not keep:
            jobs.delete(job.id, cascade=True)
        return outcome

    def _once(self, asked: dict[str, Any], make: Callable[[], str]) -> str:
        key = _key(asked)
        if key not in self._kept:
            self._kept.add(key, {"what": asked, "id": make()})
        return str(self._kept[key]["id"])


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Client, Bench]]:
    """A service of this run's own on `folder`, where figures are kept too."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "log").open("ab") as log,
        Server(home, port=0, log=log) as server,
        Client(server.url, key=server.key_file.read_text().strip()) as client,
    ):
        yield client, Bench(client, folder)


def _outcome(job: Job, keep: bool) -> Outcome:
    if job.evaluation is None:
        return Outcome(refused=f"{job.status}: {job.error.message if job.error else 'it was not evaluated'}")
    target, source = job.evaluation.target, job.evaluation.source
    before = getattr(source, "before", None)
    return Outcome(
        target=target.accuracy,
        source=source and source.accuracy,
        source_before=before and before["accuracy"],
        images=target.n,
        seconds=job.seconds,
        model=job.model if keep else None,
        warnings=tuple(warning.code for warning in job.warnings),
    )


def _said(outcome: Outcome) -> str:
    if outcome.target is None:
        return f"none ({outcome.refused})"
    source = "" if outcome.source is None else f", on the source {100 * outcome.source:.2f} %"
    return f"{100 * outcome.target:.2f} %{source}, {outcome.seconds or 0:.0f} s"


def _key(asked: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
