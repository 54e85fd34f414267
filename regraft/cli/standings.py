"""Columns and leaderboards that `regraft tournaments` and `regraft sweeps` share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table

from regraft.cli.online import WARNINGS, Column, Session, text
from regraft.standings import Standing

LISTED: list[Column] = [
    ("id", lambda found: found.id),
    ("name", lambda found: found.name),
    ("status", lambda found: found.status),
    ("candidates", lambda found: len(found.candidates)),
    ("winner", lambda found: found.winner and (found.winner.model or found.winner.checkpoint)),
    ("created", lambda found: f"{found.created_at:%Y-%m-%d %H:%M}"),
]
FIELDS: list[Column] = [
    *LISTED,
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


@contextmanager
def followed(session: Session, columns: Sequence[Column]) -> Iterator[Callable[[Sequence[Standing]], None]]:
    """A leaderboard that is drawn anew in its place; gives the function that is told of each state."""
    with Live(console=session.err, auto_refresh=False, transient=True) as live:
        yield lambda standings: live.update(_table(standings, columns), refresh=True)


def _table(standings: Sequence[Standing], columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, _ in columns:
        table.add_column(name)
    for standing in standings:
        table.add_row(*(text(read(standing)) for _, read in columns))
    return table
