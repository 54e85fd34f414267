"""Parts shared by the methods that bring a network to images without labels: selection, and learning from two
domains."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.base import OR_AUTO
from app.contract.inputs import InputOverride
from app.core.errors import Detail
from app.methods.base import Method
from app.methods.facts import JobFacts, fault
from app.methods.terms.base import Weight
from app.methods.training import Loop, Rates

Hidden = Annotated[int, Field(ge=1, le=16_384)]
FEWEST_STEPS = 1000  # of a run on defaults, however small the data


class Selecting(Method):
    """`selection`: by what the weights that are kept are chosen among those at the ends of the epochs.

    `entropy`: the surest predictions on the target's validation images (training images, where there are none), no
    label read.  `source_validation`: the source's labels.  `target_validation`: the target's, and the result says so.
    `last`: no choice.  The unchanged source is a candidate by `entropy` and `target_validation`; by the source's labels
    the epochs alone are, since on them the source is hardly ever worse.
    """

    compared = True

    selection: Literal["target_validation", "entropy", "source_validation", "last"] = "entropy"

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        by_selection = {"target_validation": facts.target, "source_validation": facts.source_dataset}
        if self.selection in by_selection:
            labelled = by_selection[self.selection]
            if labelled is None or not labelled.validation_labels:
                message = f"There are no validation labels to select by: `{self.selection}`."
                yield fault("method.selection", message)
        yield from super().check(facts)


class CrossDomain(Loop, Selecting):
    """Cross-entropy on the labelled source plus `weight` times a term on both domains, the target's labels sealed.

    The weight grows with the progress p of the run: × 2 / (1 + e^(−`ramp`·p)) − 1 (null: it is constant).
    `batch_norm`: `joint` forwards both domains as one batch; `separate` normalises each by its own, and the running
    statistics are the target's.  `backbone_factor`: of the learning rate, for all but the head.
    `input` fits the target's images; the source's are taken as the checkpoint takes them.
    """

    label_space = "source_dataset"

    batch_size: Annotated[Annotated[int, Field(ge=4, le=65_536)] | None, OR_AUTO] = (
        None  # two images of each domain in every batch
    )
    weight: Weight = 1.0
    ramp: Annotated[float, Field(gt=0, le=1000)] | None = 10.0
    batch_norm: Literal["joint", "separate"] = "joint"
    backbone_factor: Annotated[float, Field(ge=0, le=1000)] = 1.0
    input: InputOverride | None = None

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        """`train_count` is that of the larger domain, of which an epoch is one."""
        closed = super().resolve(train_count, size)
        steps_per_epoch = math.ceil(train_count / (closed.batch_size or 1))
        epochs = self.epochs or max(closed.epochs or 1, math.ceil(FEWEST_STEPS / steps_per_epoch))
        return closed.model_copy(update={"epochs": epochs})

    def strength(self, progress: float) -> float:
        """The weight of the term where `progress` of the run is behind (Ganin & Lempitsky 2015, eq. 14, times λ)."""
        return self.weight * (1.0 if self.ramp is None else 2 / (1 + math.exp(-self.ramp * progress)) - 1)


class Matching(CrossDomain):
    """A discrepancy of the domains that is minimised itself, at a constant weight, as its authors do.

    At the default weight it ends about as large as the loss on labels, on digits.
    """

    weight: Weight = 3.0
    ramp: Annotated[float, Field(gt=0, le=1000)] | None = None

    def usual(self) -> Rates:
        usual = super().usual()
        return usual._replace(learning_rate=usual.learning_rate * 0.3)
