"""The R in L + λR: what a training method may minimise beside its loss on labels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from app.contract.base import ObjectId, StrictModel, Text
from app.core.errors import Detail
from app.methods.facts import JobFacts, fault

Weight = Annotated[float, Field(ge=0, le=1e6)]
Temperature = Annotated[float, Field(gt=0, le=100)]
LayerPath = Annotated[Text, Field(min_length=1, max_length=256)]
Need = Literal["source", "source_head", "teacher"]
LAST = 10_000


@dataclass(frozen=True)
class TermInfo:
    """Info of a term: what it needs, and where it comes from.

    `softmax`: it takes the classes to exclude each other, in what it is taught by and what it teaches.
    `replaces_weight_decay`: it pulls the weights to where they began, so that nothing is to pull them to 0 unless that
    is asked for.  `order`: where it stands among the others; left out, after all that give one, by name.
    """

    reference: str
    needs: tuple[Need, ...] = ()
    softmax: bool = False
    replaces_weight_decay: bool = False
    order: int = LAST


class Term(StrictModel):
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
        """The share of `weight` that counts where `progress` of the run is behind."""
        if self.schedule == "ramp":
            return min(1.0, progress / self.ramp)
        return 0.5 * (1 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0

    @property
    def taught_by(self) -> str | None:
        """Id of the network that teaches; None: the job's source."""
        return None

    def networks(self) -> dict[str, str]:
        """Checkpoints and models that are named within, by the parameter that names them."""
        return {} if self.taught_by is None else {"teacher": self.taught_by}

    def heads(self, param: str) -> dict[str, str | None]:
        """Networks that are asked for classes, by the path of the parameter that names them; None: the job's source.

        `param` is the path of the term itself.
        """
        return {param: None} if "source_head" in self.info.needs else {}

    def check(self, param: str, method: str, facts: JobFacts) -> Iterator[Detail]:
        """Reasons why the term, at the path `param` of a method of that name, does not go with the job's parts."""
        if "source" in self.info.needs and facts.source is None:
            yield fault(param, f"`{self.name}` stays near a source, but `{method}` starts from nothing.")

    def check_kind(self, param: str, facts: JobFacts) -> Iterator[Detail]:
        """A term that takes classes to exclude each other has one an image, in the target and from who teaches it."""
        if self.info.softmax:
            teacher = facts.network(self.taught_by)
            several = [one.id for one in (facts.target, teacher) if one is not None and one.multi_label]
            if several:
                yield fault(
                    param,
                    f"`{self.name}` takes classes to exclude each other, but with {several[0]} an image has any number "
                    "of them.",
                )


class Taught(Term):
    """`teacher` is a stored checkpoint or model; left out, the source."""

    teacher: ObjectId | None = None

    @property
    def taught_by(self) -> str | None:
        return self.teacher

    def check(self, param: str, method: str, facts: JobFacts) -> Iterator[Detail]:
        yield from super().check(param, method, facts)
        if facts.network(self.teacher) is None:
            yield fault(f"{param}.teacher", f"`{self.name}` needs a teacher: name a checkpoint or a model.")
