"""The choice of an `auto` job, and what it was made by."""

from app.contract.record import Record


class Choice(Record):
    """`recommendation` and `tournament` decided, as far as they were needed; `job` is the one whose result it is, of
    the `checkpoint` (None: from scratch) and the complete `method` that won; `because` says why."""

    NULLS = frozenset({"recommendation", "tournament", "job", "checkpoint", "method", "because"})

    recommendation: str | None = None
    tournament: str | None = None
    job: str | None = None
    checkpoint: str | None = None
    method: dict[str, object] | None = None
    because: str | None = None

    @property
    def parts(self) -> list[str]:
        """Ids of all that it consists of."""
        return [part for part in (self.recommendation, self.tournament, self.job) if part is not None]
