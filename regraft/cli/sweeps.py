"""`regraft sweeps`."""

from itertools import islice
from typing import Annotated

import typer

from regraft.cli.online import Column, Session, online
from regraft.cli.options import Limit, Name, document, parameters
from regraft.cli.standings import FIELDS, LEADERBOARD, LISTED, followed
from regraft.standings import Sweep

app = typer.Typer(help="One job over and over, with parameters that are drawn.", no_args_is_help=True)

COLUMNS: list[Column] = [
    *LEADERBOARD[:3],
    *LEADERBOARD[5:],
    ("drawn", lambda standing: standing.drawn),
]
Watch = Annotated[bool, typer.Option("--watch/--no-watch", help="Follow it to its end.")]


@app.command()
@online
def create(
    session: Session,
    method: Annotated[str, typer.Argument(help="As `regraft methods` lists them.")],
    dataset: Annotated[str, typer.Option(help="The target; it needs labelled validation images.")],
    space: Annotated[str, typer.Option(help='JSON, or @file: {"method.learning_rate": {"log": [1e-4, 1e-1]}, …}')],
    trials: Annotated[int, typer.Option(help="How many jobs in all.")] = 20,
    checkpoint: Annotated[str | None, typer.Option(help="A checkpoint or a model to start from.")] = None,
    source_dataset: Annotated[str | None, typer.Option(help="What the source was trained on.")] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="NAME=VALUE", help="A parameter of all trials.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune/--no-prune", help="Leave those behind that are behind.")] = True,
    budget_s: Annotated[float | None, typer.Option(help="Seconds that all jobs may take together.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same trials.")] = None,
    name: Name = None,
    watch: Watch = False,
) -> None:
    """Look for the best parameters: regraft sweeps create ridge --checkpoint ckpt_… --dataset ds_… --space @s.json"""
    job = {"method": parameters(set) | {"name": method}, "dataset": dataset}
    job |= {name: id_ for name, id_ in (("checkpoint", checkpoint), ("source_dataset", source_dataset)) if id_}
    made = session.client.sweeps.create(
        job=job,
        space=document(space),
        trials=trials,
        pruner="halving" if prune else "none",
        budget_s=budget_s,
        seed=seed,
        name=name,
    )
    _show(session, _watched(session, made) if watch else made)


@app.command()
@online
def get(session: Session, sweep: str) -> None:
    """One sweep, with its trials."""
    _show(session, session.client.sweeps.get(sweep))


@app.command()
@online
def watch(session: Session, sweep: str) -> None:
    """Follow the trials to the end; the exit code is 4 unless there is a winner."""
    _show(session, _watched(session, session.client.sweeps.get(sweep)))


@app.command("list")
@online
def list_(session: Session, limit: Limit = 20) -> None:
    """The newest sweeps."""
    session.show_all(list(islice(session.client.sweeps.list(page_size=min(limit, 100)), limit)), LISTED)


@app.command()
@online
def cancel(session: Session, sweep: str) -> None:
    """Cancel a sweep, and all its jobs."""
    _show(session, session.client.sweeps.cancel(sweep))


@app.command()
@online
def delete(session: Session, sweep: str) -> None:
    """Delete a sweep that has ended; its jobs stay."""
    session.client.sweeps.delete(sweep)
    session.say(f"Deleted {sweep}.", {"id": sweep, "deleted": True})


def _show(session: Session, found: Sweep) -> None:
    if not session.as_json:
        session.show_all(found.candidates, COLUMNS)
    session.show(found, FIELDS)


def _watched(session: Session, found: Sweep) -> Sweep:
    with followed(session, COLUMNS) as seen:
        return session.client.sweeps.wait(found.id, seen=lambda state: seen(state.candidates))
