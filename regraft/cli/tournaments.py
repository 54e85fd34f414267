"""`regraft tournaments`."""

from itertools import islice
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from regraft.cli.online import WARNINGS, Column, Session, online, text
from regraft.cli.options import Limit, Name, Pairs, document, pairs
from regraft.standings import Standing, Tournament

app = typer.Typer(help="Jobs that race on a dataset until one has won.", no_args_is_help=True)

COLUMNS: list[Column] = [
    ("id", lambda found: found.id),
    ("name", lambda found: found.name),
    ("status", lambda found: found.status),
    ("candidates", lambda found: len(found.candidates)),
    ("winner", lambda found: found.winner and (found.winner.model or found.winner.checkpoint)),
    ("created", lambda found: f"{found.created_at:%Y-%m-%d %H:%M}"),
]
FIELDS: list[Column] = [
    *COLUMNS,
    ("dataset", lambda found: found.dataset),
    ("seconds", lambda found: found.seconds),
    ("because", lambda found: found.because),
    ("labels read", lambda found: found.label_use),
    ("error", lambda found: found.error and f"{found.error.message} ({found.error.code})"),
    WARNINGS,
]


def _accuracy(standing: Standing) -> str | None:
    if standing.accuracy is None or standing.interval is None:
        return None
    low, high = standing.interval
    return f"{standing.accuracy:.1%} ({low:.1%} to {high:.1%})"


LEADERBOARD: list[Column] = [
    ("rank", lambda standing: standing.rank),
    ("#", lambda standing: f"{standing.number}{' =' if standing.tied else ''}"),
    ("job", lambda standing: standing.job),
    ("method", lambda standing: standing.method["name"]),
    ("checkpoint", lambda standing: standing.checkpoint or "from scratch"),
    ("status", lambda standing: standing.status),
    ("of its steps", lambda standing: f"{standing.scores[-1].share:.0%}" if standing.scores else None),
    ("validation accuracy, 95 %", _accuracy),
]
Watch = Annotated[bool, typer.Option("--watch/--no-watch", help="Follow it to its end.")]


@app.command()
@online
def create(
    session: Session,
    dataset: Annotated[str, typer.Option(help="The target; it needs labelled validation images.")],
    candidates: Annotated[
        str, typer.Option(help='JSON, or @file: a list of {"checkpoint": …, "method": {…}}; or recommended.')
    ] = "recommended",
    recommendation: Annotated[str | None, typer.Option(help="Left out: the newest for the dataset.")] = None,
    max_jobs: Annotated[int | None, typer.Option(help="Candidates at most, with those that always race.")] = None,
    budget_s: Annotated[float | None, typer.Option(help="Seconds that all jobs may take together.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result.")] = None,
    name: Name = None,
    metadata: Pairs = None,
    watch: Watch = False,
) -> None:
    """Let candidates race: regraft tournaments create --dataset ds_… --candidates recommended --watch"""
    made = session.client.tournaments.create(
        dataset=dataset,
        candidates="recommended" if candidates == "recommended" else document(candidates),
        recommendation=recommendation,
        max_jobs=max_jobs,
        budget_s=budget_s,
        seed=seed,
        name=name,
        metadata=pairs(metadata),
    )
    _show(session, _watched(session, made) if watch else made)


@app.command()
@online
def get(session: Session, tournament: str) -> None:
    """One tournament, with its leaderboard."""
    _show(session, session.client.tournaments.get(tournament))


@app.command()
@online
def watch(session: Session, tournament: str) -> None:
    """Follow the leaderboard to the end; the exit code is 4 unless there is a winner."""
    _show(session, _watched(session, session.client.tournaments.get(tournament)))


@app.command("list")
@online
def list_(session: Session, limit: Limit = 20) -> None:
    """The newest tournaments."""
    found = session.client.tournaments.list(page_size=min(limit, 100))
    session.show_all(list(islice(found, limit)), COLUMNS)


@app.command()
@online
def cancel(session: Session, tournament: str) -> None:
    """Cancel a tournament, and all its jobs."""
    _show(session, session.client.tournaments.cancel(tournament))


@app.command()
@online
def delete(session: Session, tournament: str) -> None:
    """Delete a tournament that has ended; its jobs stay."""
    session.client.tournaments.delete(tournament)
    session.say(f"Deleted {tournament}.", {"id": tournament, "deleted": True})


def _show(session: Session, found: Tournament) -> None:
    if not session.as_json:
        session.show_all(found.candidates, LEADERBOARD)
    session.show(found, FIELDS)


def _watched(session: Session, found: Tournament) -> Tournament:
    with Live(console=session.err, auto_refresh=False, transient=True) as live:

        def seen(state: Tournament) -> None:
            live.update(_table(state.candidates), refresh=True)

        return session.client.tournaments.wait(found.id, seen=seen)


def _table(standings: list[Standing]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, _ in LEADERBOARD:
        table.add_column(name)
    for standing in standings:
        cells: list[Any] = [text(read(standing)) for _, read in LEADERBOARD]
        table.add_row(*cells)
    return table
