"""`linear_probe`: a new linear head on frozen features."""

from typing import Literal

from app.contract.augmentation import AugmentationStep
from app.contract.inputs import InputOverride
from app.methods.base import Info
from app.methods.supervised.family import Probing


class LinearProbe(Probing):
    """The backbone stays in evaluation mode, bit for bit.  `augmentation` is none unless a job names some."""

    info = Info(
        summary="Train a new linear head on the source's frozen features.",
        when="Very few labels, or a source so near that its features already separate the target's classes.",
        needs=("checkpoint", "target_labels"),
        reference="Alain & Bengio 2017, Understanding intermediate layers using linear classifier probes",
        multi_label=True,
        order=40,
    )

    examples = {"": {}, "augmented": {"augmentation": [{"name": "random_crop"}]}}

    name: Literal["linear_probe"] = "linear_probe"
    input: InputOverride | None = None

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return []
