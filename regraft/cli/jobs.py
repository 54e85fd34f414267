"""`regraft jobs`."""

import json
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Annotated

import typer

from regraft import errors
from regraft.cli import live
from regraft.cli.online import JUDGED, WARNINGS, Column, Session, online
from regraft.cli.options import Cascade, Limit, Name, Pairs, Status, document, pairs, parameters
from regraft.types import Event, Job

app = typer.Typer(help="Adaptations, from submission to model.", no_args_is_help=True)

COLUMNS: list[Column] = [
    ("id", lambda job: job.id),
    ("name", lambda job: job.name),
    ("method", lambda job: job.method["name"]),
    ("status", lambda job: job.status),
    ("progress", lambda job: f"{job.progress.fraction:.0%}"),
    ("accuracy", lambda job: job.evaluation and f"{job.evaluation.target.accuracy:.1%}"),
    ("model", lambda job: job.model),
    ("created", lambda job: f"{job.created_at:%Y-%m-%d %H:%M}"),
]
FIELDS: list[Column] = [
    *COLUMNS,
    ("before it", lambda job: job.queue_position),
    ("starts in, s", lambda job: job.starts_in_s),
    ("priority", lambda job: None if job.priority == "normal" else job.priority),
    ("at most, s", lambda job: job.max_seconds),
    ("checkpoint", lambda job: job.checkpoint),
    ("dataset", lambda job: job.dataset),
    ("parameters", lambda job: job.method),
    ("seed", lambda job: job.seed),
    ("chosen", lambda job: job.choice and job.choice.method and job.choice.method["name"]),
    ("from", lambda job: job.choice and job.choice.checkpoint),
    ("because", lambda job: job.choice and job.choice.because),
    ("seconds", lambda job: job.seconds),
    ("accuracy, 95 %", lambda job: job.evaluation and job.evaluation.target.accuracy_interval),
    ("mean average precision", lambda job: job.evaluation and job.evaluation.target.map),
    ("on the source", lambda job: job.evaluation and job.evaluation.source and job.evaluation.source.accuracy),
    ("error", lambda job: job.error and f"{job.error.message} ({job.error.code})"),
    *JUDGED,
]
COMPARED: list[Column] = [
    ("name", lambda job: job.name),
    ("method", lambda job: job.method["name"]),
    ("status", lambda job: job.status),
    ("accuracy", lambda job: job.evaluation and f"{job.evaluation.target.accuracy:.1%}"),
    ("accuracy, 95 %", lambda job: job.evaluation and job.evaluation.target.accuracy_interval),
    ("on the source", lambda job: job.evaluation and job.evaluation.source and job.evaluation.source.accuracy),
    ("seconds", lambda job: job.seconds),
    ("model", lambda job: job.model),
    ("checkpoint", lambda job: job.checkpoint),
    ("dataset", lambda job: job.dataset),
    ("seed", lambda job: job.seed),
]
EVENTS: list[Column] = [
    ("seq", lambda event: event.seq),
    ("at", lambda event: f"{event.at:%H:%M:%S}"),
    ("level", lambda event: event.level),
    ("type", lambda event: event.type),
    ("message", lambda event: event.message),
]
METRICS: list[Column] = [
    ("split", lambda point: point.split),
    ("name", lambda point: point.name),
    ("step", lambda point: point.step),
    ("epoch", lambda point: point.epoch),
    ("value", lambda point: point.value),
]
MethodName = Annotated[str, typer.Argument(help="As `regraft methods` lists them.")]
Dataset = Annotated[str, typer.Option(help="The target.")]
Checkpoint = Annotated[str | None, typer.Option(help="A checkpoint or a model to start from.")]
SourceDataset = Annotated[str | None, typer.Option(help="What the source was trained on.")]
Parameters = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="NAME=VALUE", help="A parameter; values may be JSON.")
]
AllParameters = Annotated[str | None, typer.Option(help="All parameters at once: JSON, or @file.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same result.")]
Watch = Annotated[bool, typer.Option("--watch/--no-watch", help="Follow it to its end.")]


@app.command()
@online
def create(
    session: Session,
    method: MethodName,
    dataset: Dataset,
    checkpoint: Checkpoint = None,
    source_dataset: SourceDataset = None,
    set: Parameters = None,
    params: AllParameters = None,
    seed: Seed = None,
    name: Name = None,
    metadata: Pairs = None,
    priority: Annotated[str | None, typer.Option(help="Among your own jobs: low, normal or high.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="How long it may run, over all attempts.")] = None,
    watch: Watch = False,
) -> None:
    """Submit a job: regraft jobs create fine_tune --checkpoint ckpt_… --dataset ds_… -s labels_per_class=10 --watch"""
    job = session.client.jobs.create(
        method=(document(params) or {}) | parameters(set) | {"name": method},
        dataset=dataset,
        checkpoint=checkpoint,
        source_dataset=source_dataset,
        seed=seed,
        name=name,
        metadata=pairs(metadata),
        priority=priority,
        max_seconds=max_seconds,
    )
    session.show(_watched(session, job) if watch else job, FIELDS)


PREFLIGHT: list[Column] = [
    ("id", lambda found: found.id),
    ("fits", lambda found: found.fits),
    ("would fit", lambda found: found.suggestion),
    ("seconds", lambda found: found.seconds and f"{found.seconds.estimate:,.1f}"),
    ("between", lambda found: found.seconds and " and ".join(f"{one:,.1f}" for one in found.seconds.interval)),
    ("memory, MiB", lambda found: found.memory_bytes and f"{found.memory_bytes / 2**20:,.0f}"),
    ("available, MiB", lambda found: found.available_bytes and f"{found.available_bytes / 2**20:,.0f}"),
    ("steps", lambda found: found.steps),
    ("seconds a step", lambda found: found.step_seconds),
    ("input", lambda found: found.input),
    ("device", lambda found: found.device),
    WARNINGS,
]


@app.command()
@online
def preflight(
    session: Session,
    method: MethodName,
    dataset: Dataset,
    checkpoint: Checkpoint = None,
    source_dataset: SourceDataset = None,
    set: Parameters = None,
    params: AllParameters = None,
    seed: Seed = None,
) -> None:
    """Measure what a job would take, by a rehearsal, and submit nothing: regraft jobs preflight fine_tune …"""
    with session.err.status("Rehearsing the job"):
        asked = session.client.preflights.create(
            method=(document(params) or {}) | parameters(set) | {"name": method},
            dataset=dataset,
            checkpoint=checkpoint,
            source_dataset=source_dataset,
            seed=seed,
        )
        found = session.client.preflights.wait(asked.id)
    session.show(found, PREFLIGHT)


@app.command("list")
@online
def list_(
    session: Session,
    status: Status = None,
    method: Annotated[str | None, typer.Option(help="Those of this method alone.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Those from this source alone.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Those to this target alone.")] = None,
    limit: Limit = 20,
) -> None:
    """The newest jobs."""
    found = session.client.jobs.list(
        status=status, method=method, checkpoint=checkpoint, dataset=dataset, page_size=min(limit, 100)
    )
    session.show_all(list(islice(found, limit)), COLUMNS)


@app.command()
@online
def get(session: Session, job: str) -> None:
    """One job."""
    session.show(session.client.jobs.get(job), FIELDS)


@online
def compare(
    session: Session, jobs: Annotated[list[str], typer.Argument(help="Two or more.", metavar="JOB...")]
) -> None:
    """Show jobs beside each other, and the parameters in which they differ: regraft compare job_… job_…"""
    found = {job: session.client.jobs.get(job) for job in dict.fromkeys(jobs)}
    session.show_beside(found, [*COMPARED, *_differing(list(found.values()))])


def _differing(jobs: Sequence[Job]) -> list[Column]:
    names = dict.fromkeys(name for job in jobs for name in job.method if name != "name")

    def said(name: str, job: Job) -> str | None:
        return json.dumps(job.method[name], ensure_ascii=False) if name in job.method else None

    return [(name, partial(said, name)) for name in names if len({said(name, job) for job in jobs}) > 1]


@app.command("watch")
@online
def watch_(session: Session, job: str) -> None:
    """Follow a job to its end; the exit code is 4 unless it succeeds."""
    session.show(_watched(session, session.client.jobs.get(job)), FIELDS)


@app.command()
@online
def cancel(session: Session, job: str) -> None:
    """Cancel a job."""
    session.show(session.client.jobs.cancel(job), FIELDS)


@app.command()
@online
def pause(session: Session, job: str) -> None:
    """Pause a job at its next snapshot."""
    session.show(session.client.jobs.pause(job), FIELDS)


@app.command()
@online
def resume(session: Session, job: str) -> None:
    """Go on with a paused job."""
    session.show(session.client.jobs.resume(job), FIELDS)


@app.command()
@online
def retry(session: Session, job: str) -> None:
    """Queue a failed or cancelled job again."""
    session.show(session.client.jobs.retry(job), FIELDS)


@app.command()
@online
def events(
    session: Session,
    job: str,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job has finished.")] = False,
) -> None:
    """List what has happened; with `--follow --json` one JSON document a line."""
    if not follow:
        session.show_all(list(session.client.jobs.events(job)), EVENTS)
        return
    for event in session.client.jobs.stream(job):
        typer.echo(event.model_dump_json() if session.as_json else _line(event))


@app.command()
@online
def metrics(
    session: Session,
    job: str,
    name: Annotated[str | None, typer.Option(help="One series alone, such as loss.")] = None,
) -> None:
    """All points of the series."""
    session.show_all(session.client.jobs.metrics(job, name=name), METRICS)


@app.command()
@online
def delete(session: Session, job: str, cascade: Cascade = False) -> None:
    """Delete a job."""
    session.client.jobs.delete(job, cascade=cascade)
    session.say(f"Deleted {job}.", {"id": job, "deleted": True})


def _watched(session: Session, job: Job) -> Job:
    [finished] = live.watch(session.client, [job], session.err)
    if finished.status != "succeeded":
        raise errors.Unsuccessful(finished)
    return finished


def _line(event: Event) -> str:
    return f"{event.at:%H:%M:%S} {event.level:<7} {event.type:<12} {event.message}"
