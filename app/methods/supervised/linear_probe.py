"""`linear_probe`: a new linear head on frozen features."""

from typing import Literal

from app.contract.augmentation import AugmentationStep
from app.contract.inputs import InputOverride
from app.methods.training import Training


class LinearProbe(Training):
    """The backbone stays in evaluation mode, bit for bit.  Without augmentation (`auto`) features are computed once."""

    name: Literal["linear_probe"] = "linear_probe"
    input: InputOverride | None = None

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return []
