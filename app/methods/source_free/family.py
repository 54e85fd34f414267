"""Parts shared by the methods that adapt a network to images alone: no label of the target, no image of the source."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.augmentation import AugmentationStep
from app.contract.inputs import InputOverride
from app.contract.recipe import Optimizer
from app.methods.base import Method
from app.methods.cross_domain.family import Selecting
from app.methods.training import MIN_STEPS, Loop, Rates

EPOCHS = 30
BATCH_SIZE = 64
EPOCHS_ON_NORMS = 10
BATCH_SIZE_ON_NORMS = 256


class SourceFree(Method):
    """The source's head and classes stay; the target's images are fitted as the source's input says, or as `input`."""

    label_space = "source"
    asks_source = True
    compared = True

    input: InputOverride | None = None


class Minimising(Loop, Selecting, SourceFree):
    """A loss on the target's images is minimised; by default the `last` weights are kept."""

    selection: Literal["target_validation", "entropy", "last"] = "last"

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        """Batches are no smaller where data is little: their predictions together stand for the whole target's."""
        batch_size = self.batch_size or BATCH_SIZE
        epochs = self.epochs or max(EPOCHS, math.ceil(MIN_STEPS / math.ceil(train_count / batch_size)))
        opened = self.model_copy(update={"batch_size": batch_size, "epochs": epochs})
        return super(Minimising, opened).resolve(train_count, size)


class OnNorms(Loop, SourceFree):
    """All but norms' scales and shifts stays bit for bit; batch norm's statistics are those of the target.

    Predictions are looked at after every epoch: where they have collapsed, it stops and keeps the last sound state.
    """

    optimizer: Optimizer = "adamw"
    scheduler: Literal["cosine", "step", "constant"] = "constant"
    label_smoothing: Annotated[float, Field(ge=0, le=0)] = 0.0  # there are no labels

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        """Batches are as large as in a stream: batch norm takes its statistics from them, and so does the entropy."""
        batch_size, epochs = self.batch_size or BATCH_SIZE_ON_NORMS, self.epochs or EPOCHS_ON_NORMS
        opened = self.model_copy(update={"batch_size": batch_size, "epochs": epochs})
        return super(OnNorms, opened).resolve(train_count, size)

    def usual(self) -> Rates:
        return super().usual()._replace(weight_decay=0.0)

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return []


class Reliable(OnNorms):
    """Images alone count whose prediction has an entropy of less than `entropy_margin` of the greatest, ln K."""

    entropy_margin: Annotated[float, Field(gt=0, le=1)] = 0.4
