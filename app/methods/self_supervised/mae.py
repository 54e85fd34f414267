"""`mae`: masked patches of images, painted from those that are seen."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.augmentation import AugmentationStep, RandomResizedCrop
from app.methods.base import SOME_INPUT, SOME_NETWORK, Info
from app.methods.self_supervised.family import Pretraining


class Mae(Pretraining):
    """A vision transformer sees the patches that are left when `mask` of them are taken out; a decoder of `blocks`
    blocks, `dimensions` wide, paints the others (He et al. 2022), and is thrown away.

    `normalised`: what is to be painted is each patch less its mean, over its deviation.
    """

    info = Info(
        summary="Features from images alone: masked patches are painted from those that are seen.",
        when="A vision transformer, from a checkpoint or new, and many images without labels; no large batches.",
        takes=("checkpoint",),
        reference="He et al. 2022, Masked autoencoders are scalable vision learners",
        order=185,
    )

    examples = {"": {"network": SOME_NETWORK, "input": SOME_INPUT}}

    name: Literal["mae"] = "mae"
    mask: Annotated[float, Field(gt=0, lt=1)] = 0.75
    normalised: bool = True
    dimensions: Annotated[int, Field(ge=8, le=4096, multiple_of=4)] = 128
    blocks: Annotated[int, Field(ge=1, le=32)] = 2

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        """The paper's crop; no flips, which digits and letters do not bear."""
        return [RandomResizedCrop(scale=(0.2, 1.0))]
