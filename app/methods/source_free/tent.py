"""`tent`: the entropy of predictions, lowered by batch norm's scales and shifts alone."""

from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.augmentation import AugmentationStep
from app.contract.recipe import Optimizer
from app.methods.base import Info
from app.methods.source_free.family import SourceFree
from app.methods.training import Loop, Rates

EPOCHS = 10
BATCH_SIZE = 256


class Tent(Loop, SourceFree):
    """All but batch norm's scales and shifts stays bit for bit; its statistics are those of the target.

    Predictions are looked at after every epoch: where they have collapsed, it stops and keeps the last sound state.
    """

    info = Info(
        summary="Make the predictions on images without labels surer, by batch norm's scales and shifts alone.",
        when="The source is nearly right on the target, and nearly all of its weights are to stay as they are.",
        needs=("checkpoint",),
        reference="Wang et al. 2021, Tent: fully test-time adaptation by entropy minimization",
        order=400,
    )

    examples = {"": {"batch_size": 20}}

    name: Literal["tent"] = "tent"
    optimizer: Optimizer = "adamw"
    scheduler: Literal["cosine", "step", "constant"] = "constant"
    label_smoothing: Annotated[float, Field(ge=0, le=0)] = 0.0  # there are no labels

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        """Batches are as large as in a stream: batch norm takes its statistics from them, and so does the entropy."""
        opened = self.model_copy(update={"batch_size": self.batch_size or BATCH_SIZE, "epochs": self.epochs or EPOCHS})
        return super(Tent, opened).resolve(train_count, size)

    def usual(self) -> Rates:
        return super().usual()._replace(weight_decay=0.0)

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return []
