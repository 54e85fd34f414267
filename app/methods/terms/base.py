"""The R in L + λR: what a training method may minimise beside its loss on labels."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from app.contract.base import Closed, ObjectId, Text

Weight = Annotated[float, Field(ge=0, le=1e6)]
Temperature = Annotated[float, Field(gt=0, le=100)]
LayerPath = Annotated[Text, Field(min_length=1, max_length=256)]
Need = Literal["source", "source_head", "teacher"]
LAST = 10_000


@dataclass(frozen=True)
class TermInfo:
    """What a term needs, and where it comes from.

    `softmax`: it takes the classes to exclude each other, in what it is taught by and what it teaches.
    `replaces_weight_decay`: it pulls the weights to where they began, so that nothing is to pull them to 0 unless that
    is asked for.  `order`: where it stands among the others; left out, after all that give one, by name.
    """

    reference: str
    needs: tuple[Need, ...] = ()
    softmax: bool = False
    replaces_weight_decay: bool = False
    order: int = LAST


class Term(Closed):
    """`weight` is λ; `schedule` says how it goes over the run: constant, or from 0 to all of it within the first `ramp`
    of the run, or down to 0 along half a cosine."""

    info: ClassVar[TermInfo]

    if TYPE_CHECKING:  # a field of each term, where it stands among the others

        @property
        def name(self) -> str: ...

    weight: Weight
    schedule: Literal["constant", "ramp", "cosine"] = "constant"
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.3

    def factor(self, progress: float) -> float:
        """Of `weight`, where `progress` of the run is behind."""
        if self.schedule == "ramp":
            return min(1.0, progress / self.ramp)
        return 0.5 * (1 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0

    def networks(self) -> dict[str, str]:
        """Checkpoints and models that are named within, by the parameter that names them."""
        return {}


class Taught(Term):
    """`teacher` is a stored checkpoint or model; left out, the source."""

    teacher: ObjectId | None = None

    def networks(self) -> dict[str, str]:
        return {} if self.teacher is None else {"teacher": self.teacher}
