"""Means of what the steps report, without waiting for the device at every step."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from worker.engine.contract import Failure


class Meter:
    """Collects scalars that may still be being computed; one wait for all of them when they are read."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._pending: list[Tensor] = []
        self._rows: list[list[float]] = []
        self._weights: list[int] = []

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        """One step's scalars, always of the same names; `weight` is the number of examples that they are means over."""
        self._names = tuple(values)
        self._pending.extend(value.detach() for value in values.values())
        self._weights.append(weight)

    def read(self, step: int) -> dict[str, float]:
        """The weighted means since the last read, by name; `step` is the number of steps done so far.

        Raises:
            Failure: see `require_finite`.
        """
        self.require_finite(step)
        total = sum(self._weights)
        means = {
            name: math.fsum(row[i] * weight for row, weight in zip(self._rows, self._weights, strict=True)) / total
            for i, name in enumerate(self._names)
        }
        self._rows, self._weights = [], []
        return means

    def require_finite(self, step: int) -> None:
        """
        Raises:
            Failure: `diverged`, with the first step since the last read at which a value was not finite.
        """
        self._settle()
        for number, row in enumerate(self._rows, start=step - len(self._rows) + 1):
            for name, value in zip(self._names, row, strict=True):
                if not math.isfinite(value):
                    raise Failure("diverged", f"The {name} was {value} at step {number}: lower `learning_rate`.")

    def state_dict(self) -> dict[str, object]:
        self._settle()
        return {"names": list(self._names), "rows": self._rows, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, list[object]]) -> None:
        self._names = tuple(map(str, state["names"]))
        self._rows = [list(row) for row in state["rows"]]  # type: ignore[call-overload]
        self._weights = list(state["weights"])  # type: ignore[arg-type]

    def _settle(self) -> None:
        if self._pending:
            values = torch.stack([value.float() for value in self._pending]).tolist()
            width = len(self._names)
            self._rows.extend(values[start : start + width] for start in range(0, len(values), width))
            self._pending = []
