"""Values that a training loop is given and gives back: batches, a loss, a validation, an outcome."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from worker.runtime.run import Hits, State


class Stateful(Protocol):
    """State that must survive a resume: a term with random maps or averages, a discriminator, a stream of batches."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State, /) -> object: ...


class Sized(Protocol):
    """A batch; its length is the number of examples that its losses are means over."""

    def __len__(self) -> int: ...


B = TypeVar("B", bound=Sized)
B_co = TypeVar("B_co", bound=Sized, covariant=True)


class Batches(Stateful, Protocol[B_co]):
    """A stream of batches; which examples batch i of epoch e holds is a pure function of (seed, e, i)."""

    @property
    def per_epoch(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[B_co]:
        """Batches `start`, `start` + 1, … of `epoch`.  Each is made when it is asked for, and not before."""


@dataclass(frozen=True)
class Moment:
    """The place of a step in the training; `progress` runs from 0 to nearly 1, and what ramps is a function of it.

    `above`: the weights are those to which sharpness-aware minimisation moves, for the second look at the same batch.
    """

    step: int
    epoch: int
    progress: float
    above: bool = False


Losses = Mapping[str, Tensor]  # scalars: `loss` is minimised, all are logged as series of their names
Loss = Callable[[B, Moment], Losses]
Backward = Callable[[B, Callable[[B], Losses]], Losses]


@dataclass(frozen=True)
class Validation:
    """`values` are logged as series; of two validations the one with the greater `rank` is the better.

    `hits` tell of each of the target's validation images whether the network is right; None where others are looked at,
    or no labels.
    """

    values: dict[str, float]
    rank: tuple[float, ...]
    hits: Hits | None = None


@dataclass(frozen=True)
class Fitted:
    """The outcome of a training; steps and epochs count from 1, `best` are the validation's values at `best_epoch`."""

    steps: int
    epochs: int
    stopped_early: bool
    best_epoch: int | None = None
    best: dict[str, float] | None = None
