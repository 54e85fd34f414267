"""`mixstyle`: the style of one image's feature maps on another's."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import Fraction
from app.methods.base import Info
from app.methods.generalisation.family import Generalisation


class MixStyle(Generalisation):
    """After each of the first `stages` stages (of a ResNet: residual stages, the stem is none), with probability `p`,
    the channels' means and deviations of an image become λ times its own and 1−λ times another's of the batch, λ from
    Beta(`alpha`, `alpha`)."""

    info = Info(
        summary="The style of one image's feature maps on another's.",
        when="The environments differ in style: colour, contrast, texture; the network is convolutional.",
        needs=("environments",),
        takes=("checkpoint",),
        reference="Zhou et al. 2021, Domain generalization with MixStyle",
        order=240,
    )

    examples = {"": {"environments": ["ds_here", "ds_there"]}}

    name: Literal["mixstyle"] = "mixstyle"
    p: Fraction = 0.5
    alpha: Annotated[float, Field(gt=0, le=100)] = 0.1
    stages: Annotated[int, Field(ge=1, le=64)] = 2
