"""Jobs on their way, as bars: status, loss, accuracy, time left."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import sleep
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from regraft.client import Client
from regraft.types import Job, Metric

POLL_S = 0.5


def watch(client: Client, jobs: Sequence[Job], console: Console) -> list[Job]:
    """Follows the jobs until all have finished, however they end; gives them as they are then, in the order given."""
    latest = {job.id: job for job in jobs}
    with _job_bars(console) as bars:
        rows = {job.id: bars.add_task(_title(job), total=1.0, **_figures(job, [])) for job in jobs}
        open_ = list(latest)
        while open_:
            for job_id in open_:
                latest[job_id] = _refresh(client, job_id, bars, rows[job_id])
            open_ = [job_id for job_id in open_ if not latest[job_id].finished]
            if open_:
                sleep(POLL_S)
    return list(latest.values())


@contextmanager
def transfer(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for an upload or download; gives the function that is told of its progress."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        row = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(row, completed=done, total=total)


def _job_bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[status]:<10}", markup=False),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        expand=False,
    )


def _refresh(client: Client, job_id: str, bars: Progress, row: TaskID) -> Job:
    job = client.jobs.get(job_id)
    metrics = client.jobs.metrics(job_id) if job.started_at else []
    bars.update(row, completed=job.progress.fraction, **_figures(job, metrics))
    return job


def _title(job: Job) -> str:
    return job.name or str(job.method["name"])


def _figures(job: Job, metrics: Sequence[Metric]) -> dict[str, Any]:
    last = {(point.split, point.name): point.value for point in metrics}
    figures = [f"loss {last[key]:.3f}" for key in [("train", "loss")] if key in last]
    figures += [f"accuracy {last[key]:.1%}" for key in [("validation", "accuracy")] if key in last]
    if job.evaluation and job.finished:
        figures = [f"test accuracy {job.evaluation.target.accuracy:.1%}"]
    elif job.progress.eta_s is not None:
        figures.append(f"{job.progress.eta_s:.0f} s left")
    elif job.queue_position is not None:
        figures.append(f"{job.queue_position} before it")
    return {"status": job.status, "figures": "  ".join(figures)}
