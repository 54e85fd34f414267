"""`regraft tournaments`."""

from itertools import islice
from typing import Annotated

import typer

from regraft.cli.online import Session, online
from regraft.cli.options import Limit, Name, Pairs, document, pairs
from regraft.cli.standings import FIELDS, LEADERBOARD, LISTED, followed
from regraft.standings import Tournament

app = typer.Typer(help="Jobs that race on a dataset until one has won.", no_args_is_help=True)

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
    session.show_all(list(islice(found, limit)), LISTED)


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
    with followed(session, LEADERBOARD) as seen:
        return session.client.tournaments.wait(found.id, seen=lambda state: seen(state.candidates))
