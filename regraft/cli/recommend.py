"""`regraft recommend`, and what follows it: labels, and how often forecasts held."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.cli.online import WARNINGS, Column, Session, online
from regraft.cli.options import pairs
from regraft.types import Recommendation, RecommendationEntry

SHOWN = 10  # entries; `--json` has all


@online
def recommend(
    session: Session,
    *,
    dataset: Annotated[str, typer.Option(help="The target.")],
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="A candidate; may be repeated.  Left out: the newest that are ready.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(help="May be repeated.  Left out: all with a forecast.")] = None,
    source_dataset: Annotated[str | None, typer.Option(help="What the candidates learned from.")] = None,
    labels: Annotated[str | None, typer.Option(help="How many of a class may be seen: a number, all, none.")] = None,
    objective: Annotated[
        str | None, typer.Option(help="Rank by accuracy, accuracy_per_second, small or keep_source.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds that a job may take at most.")] = None,
    images: Annotated[int | None, typer.Option(help="Training images to look at.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result.")] = None,
) -> None:
    """Say what to try on a dataset before anything is trained: regraft recommend --dataset ds_… --labels 10"""
    with session.err.status("Looking at the images through every candidate"):
        asked = session.client.recommendations.create(
            dataset=dataset,
            checkpoints=checkpoint,
            methods=method,
            source_dataset=source_dataset,
            labels=_labels(labels),
            objective=objective,
            budget_s=budget,
            images=images,
            seed=seed,
        )
        found = session.client.recommendations.wait(asked.id)
    _show(session, found)


@online
def to_label(
    session: Session,
    recommendation: Annotated[str, typer.Argument(help="rec_…")],
    n: Annotated[int | None, typer.Option("-n", help="How many.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write a file of tasks that Label Studio imports.")] = None,
) -> None:
    """Say which images to label next: regraft to-label rec_… --out tasks.json"""
    if out is not None:
        out.write_bytes(session.client.recommendations.label_studio(recommendation, n=n))
        session.say(f"Wrote {out}.", {"path": str(out)})
        return
    found = session.client.recommendations.to_label(recommendation, n=n)
    if session.as_json:
        session.emit(found.model_dump(mode="json"))
        return
    session.show_all(found.images, [("image", lambda image: image.id), ("file", lambda image: image.name)])


@online
def label(
    session: Session,
    recommendation: Annotated[str, typer.Argument(help="rec_…")],
    labels: Annotated[Path, typer.Argument(help="A table of images and labels, or what Label Studio exports.")],
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="Of the table, image or label; of tasks from here: image=sample."),
    ] = None,
    labels_per_class: Annotated[int | None, typer.Option(help="How many of a class are seen then, if not all.")] = None,
) -> None:
    """Ask again with more labels: regraft label rec_… labels.csv"""
    with session.err.status("Looking at the images through every candidate"):
        asked = session.client.recommendations.label(
            recommendation, labels, columns=pairs(column) or None, labels_per_class=labels_per_class
        )
        found = session.client.recommendations.wait(asked.id)
    _show(session, found)


@online
def calibration(session: Session) -> None:
    """Say how often the forecasts of recommendations held: regraft calibration"""
    found = session.client.recommendations.calibration()
    session.show(found, CALIBRATION)


def _show(session: Session, found: Recommendation) -> None:
    if session.as_json:
        session.emit(found.model_dump(mode="json"))
        return
    session.show_all(found.entries[:SHOWN], _columns(found))
    session.show(found, FIELDS)


FIELDS: list[Column] = [
    ("recommendation", lambda found: found.id),
    ("dataset", lambda found: found.dataset),
    ("entries", lambda found: len(found.entries)),
    ("unchanged", lambda found: _percent(found.baselines.get("unchanged"))),
    ("from scratch", lambda found: _percent(found.baselines.get("scratch"))),
    ("labels read", lambda found: found.label_use),
    ("undecided", lambda found: found.because if found.abstains else None),
    ("would decide", lambda found: found.to_decide),
    ("not measured", lambda found: [f"{one.id}: {one.failure}" for one in found.candidates if one.failure]),
    WARNINGS,
]


CALIBRATION: list[Column] = [
    ("jobs", lambda found: found.jobs),
    ("within the interval", lambda found: _percent(found.coverage)),
    ("should be", lambda found: _percent(found.expected)),
    ("error in the mean", lambda found: _points(found.mean_error)),
    ("absolute error", lambda found: _points(found.mean_absolute_error)),
    ("regret", lambda found: _points(found.regret)),
]


def _columns(found: Recommendation) -> Sequence[Column]:
    names = {one.id: one.name or one.id for one in found.candidates}

    def accuracy(entry: RecommendationEntry) -> str:
        low, high = entry.predicted.interval
        return f"{entry.predicted.accuracy:.1%} ({low:.1%} to {high:.1%})"

    return [
        ("rank", lambda entry: entry.rank),
        ("checkpoint", lambda entry: entry.checkpoint and names.get(entry.checkpoint, entry.checkpoint)),
        ("method", lambda entry: entry.method["name"]),
        ("accuracy, 90 %", accuracy),
        ("best", lambda entry: _percent(entry.predicted.p_best)),
        ("seconds", lambda entry: (seconds := entry.cost.get("seconds")) and f"{seconds:,.0f}"),
        ("reasons", lambda entry: " ".join(entry.reasons) or None),
    ]


def _points(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} points"


def _percent(share: Any) -> str | None:
    return None if share is None else f"{share:.0%}"


def _labels(given: str | None) -> Any:
    if given is None or given in ("all", "none"):
        return given
    if not given.isdecimal():
        raise typer.BadParameter(f"{given!r} is neither a number nor all or none", param_hint="--labels")
    return int(given)
