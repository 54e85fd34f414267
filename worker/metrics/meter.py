"""Means of what the steps report, without waiting for the device at every step."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.runtime.contract import Failure

Rows = list[list[float]]


@dataclass(frozen=True)
class _Point:
    """A point of which `step` is the last step: `rows` are known, and those of the steps after them are on their
    way."""

    step: int
    names: tuple[str, ...]
    rows: Rows
    rest: "_Sent | None"
    weights: list[int]

    def known(self) -> bool:
        return self.rest is None or self.rest.there()

    def means(self) -> dict[str, float]:
        rows = self.rows + (self.rest.rows(len(self.names)) if self.rest else [])
        _require_finite(self.names, rows, self.step)
        total = sum(self.weights)
        return {
            name: math.fsum(row[i] * weight for row, weight in zip(rows, self.weights, strict=True)) / total
            for i, name in enumerate(self.names)
        }


class Meter:
    """Collects scalars that may still be being computed; the names are the same at every step."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._points: list[_Point] = []
        self._pending: list[Tensor] = []
        self._rows: Rows = []
        self._weights: list[int] = []

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        """One step's scalars; `weight` is the number of examples that they are means over."""
        self._names = tuple(values)
        self._pending.extend(value.detach() for value in values.values())
        self._weights.append(weight)

    def mark(self, step: int) -> None:
        """A point: means are to be taken of what came since the last; `step` is the number of steps done so far."""
        rest = _Sent(self._pending) if self._pending else None
        self._points.append(_Point(step, self._names, self._rows, rest, self._weights))
        self._pending, self._rows, self._weights = [], [], []

    def read(self, *, wait: bool = False) -> Iterator[tuple[int, dict[str, float]]]:
        """The step and the weighted means, by name, of the points that are known by now; `wait`: of all.

        Raises:
            Failure: see `require_finite`.
        """
        while self._points and (wait or self._points[0].known()):
            point = self._points.pop(0)
            yield point.step, point.means()

    def require_finite(self, step: int) -> None:
        """
        Raises:
            Failure: `diverged`, with the first step since the last point at which a value was not finite.
        """
        self._settle()
        _require_finite(self._names, self._rows, step)

    def state_dict(self) -> dict[str, object]:
        """The state of what came since the last point; all points have been read."""
        self._settle()
        return {"names": list(self._names), "rows": self._rows, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, list[object]]) -> None:
        self._names = tuple(map(str, state["names"]))
        self._rows = [list(row) for row in state["rows"]]  # type: ignore[call-overload]
        self._weights = list(state["weights"])  # type: ignore[arg-type]

    def _settle(self) -> None:
        if self._pending:
            self._rows = self._rows + _Sent(self._pending).rows(len(self._names))
            self._pending = []


class _Sent:
    """Scalars on their way to the CPU."""

    def __init__(self, values: list[Tensor]) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._values = torch.stack([value.float() for value in values])
        if self._values.is_cuda:
            pinned = torch.empty(len(values), pin_memory=True)
            self._values = pinned.copy_(self._values, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def there(self) -> bool:
        return self._arrived is None or bool(self._arrived.query())  # type: ignore[no-untyped-call]

    def rows(self, width: int) -> Rows:
        """The numbers, so many to a row; waits until they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values = self._values.tolist()
        return [values[start : start + width] for start in range(0, len(values), width)]


def _require_finite(names: tuple[str, ...], rows: Rows, step: int) -> None:
    for number, row in enumerate(rows, start=step - len(rows) + 1):
        for name, value in zip(names, row, strict=True):
            if not math.isfinite(value):
                raise Failure("diverged", f"The {name} was {value} at step {number}: lower `learning_rate`.")
