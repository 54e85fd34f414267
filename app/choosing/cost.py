"""The cost of an entry: seconds by a preflight that was measured, else by what its network takes for an image.

A pass with gradients counts as three without.  What a head on features takes, and what every job does once (opening the
images, writing and checking the files), are constants: docs/choosing.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from app.choosing.forecast import FROZEN
from app.contract.preflight import MeasuredCost
from app.contract.recommendation import Forecast, Forecasts
from app.contract.record import Record
from app.db.tables import Warned
from app.jobs import planning
from app.jobs.planning import Plan

Objective = Literal["accuracy", "accuracy_per_second", "small", "keep_source"]
NEAR = 0.02  # of accuracy: as good as the best, where something else is looked for
BACKWARD = 2.0  # passes forward that a pass back takes
ONCE_S, HEAD_STEP_S = 5.0, 4e-4
NAMED = 5  # of entries that are left out


class Work(Record):
    """The work of a job: images that its network sees without gradients and with them, and steps of a head alone.

    `measured`: what a preflight of the same has found.
    """

    shown: float
    learned: float = 0.0
    head_steps: int = 0
    measured: MeasuredCost | None = None

    def seconds(self, image_seconds: float | None) -> float | None:
        """Seconds in all, where an image takes so many."""
        if self.measured is not None and self.measured.seconds is not None:
            return self.measured.seconds
        if image_seconds is None:
            return None
        passes = self.shown + (1 + BACKWARD) * self.learned
        return ONCE_S + image_seconds * passes + HEAD_STEP_S * self.head_steps

    @property
    def memory_bytes(self) -> int | None:
        return None if self.measured is None else self.measured.memory_bytes


def work(plan: Plan, measured: MeasuredCost | None) -> Work:
    """The work of a plan whose parts are all ready."""
    splits = plan.target.splits or {}
    known = {} if plan.source_dataset is None else plan.source_dataset.splits or {}
    shown = float(splits.get("test", 0) + 2 * known.get("test", 0))
    facts = planning.learnt(plan.method, plan.facts)
    images = None if facts is None else plan.method.epoch_images(facts)
    steps = None if images is None else plan.method.steps(images)
    if images is None or steps is None:
        return Work(shown=shown, measured=measured)
    method = plan.method
    validated = splits.get("validation", 0)
    if method.name in FROZEN:
        return Work(shown=shown + images + validated, head_steps=steps, measured=measured)
    epochs: int = getattr(method, "epochs", None) or 0
    probed: int = getattr(method, "all_epochs", epochs) - epochs  # by a head alone, on features
    shown += epochs * validated + (images + validated if probed else 0)
    head_steps = probed * steps // (epochs or 1)
    without, learned = method.passes(epochs * images)
    return Work(shown=shown + without, learned=learned, head_steps=head_steps, measured=measured)


class EntryCost(NamedTuple):
    """The cost of an entry, and the size of its network, as far as they are known."""

    seconds: float | None
    memory_bytes: int | None
    parameters: int | None


@dataclass(frozen=True)
class Wish:
    """The rule to rank by, and what an entry may take.

    `accuracy_per_second`: by what is gained over the best checkpoint unchanged (or over chance) a second.  `small` and
    `keep_source`: among the entries that are as good as the best but for `NEAR`, the fewest parameters, or those first
    that leave the source's features as they are; then the others.
    """

    objective: Objective
    budget_s: float | None
    chance: float

    def heed(
        self, forecasts: Forecasts, cost_of: Callable[[Forecast], EntryCost]
    ) -> tuple[Forecasts, list[tuple[Forecast, EntryCost]]]:
        """The forecasts with their entries by the wish, and the entries that are left out."""
        if self.objective == "accuracy" and self.budget_s is None:
            return forecasts, []
        costs = {entry.rank: cost_of(entry) for entry in forecasts.entries}
        late = [entry for entry in forecasts.entries if self._late(costs[entry.rank])]
        within = [entry for entry in forecasts.entries if not self._late(costs[entry.rank])]
        least = within[0].predicted.accuracy - NEAR if within else 0.0
        baseline = self.chance if forecasts.unchanged is None else forecasts.unchanged

        def key(entry: Forecast) -> tuple[float, ...]:
            cost, near = costs[entry.rank], entry.predicted.accuracy >= least
            match self.objective:
                case "accuracy_per_second":
                    gain = entry.predicted.accuracy - baseline
                    known = cost.seconds is not None and gain > 0
                    return (not known, -gain / cost.seconds if known and cost.seconds else -gain)
                case "small":
                    return (not near, (cost.parameters or math.inf) if near else 0)
                case "keep_source":
                    return (not near, near and entry.method not in FROZEN)
            return (0,)

        ranked = sorted(within, key=key)  # stable: by accuracy among equals
        entries = [entry.model_copy(update={"rank": rank}) for rank, entry in enumerate(ranked, start=1)]
        changes: dict[str, object] = {"entries": entries}
        if late and not entries:
            changes |= {"abstains": True, "because": f"Nothing fits into {self.budget_s:g} seconds."}
        return forecasts.model_copy(update=changes), [(entry, costs[entry.rank]) for entry in late]

    def _late(self, cost: EntryCost) -> bool:
        return self.budget_s is not None and cost.seconds is not None and cost.seconds > self.budget_s


def left_out(late: Sequence[tuple[Forecast, EntryCost]], budget_s: float | None) -> list[Warned]:
    """The warning about entries that take longer than the budget."""
    if not late:
        return []
    named = [f"`{entry.method}` from {entry.checkpoint or 'scratch'} ({cost.seconds:,.0f} s)" for entry, cost in late]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    message = f"Left out, since they would take longer than {budget_s:g} s: {', '.join(named[:NAMED])}{more}."
    return [{"code": "over_budget", "message": message}]
