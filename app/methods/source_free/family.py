"""Parts shared by the methods that adapt a network to images alone: no label of the target, no image of the source."""

import math
from typing import Literal, Self

from app.contract.inputs import InputOverride
from app.methods.base import Method
from app.methods.cross_domain.family import Selecting
from app.methods.training import MIN_STEPS, Loop

EPOCHS = 30
BATCH_SIZE = 64


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
