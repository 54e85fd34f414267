"""`structure_transfer`: the source's whole architecture, for other classes and other images."""

from typing import Literal

from app.contract.inputs import InputSpec
from app.contract.recipe import Optimizer
from app.methods.base import Info
from app.methods.training import Training


class StructureTransfer(Training):
    """The architecture with the source's weights (`weights`), or newly drawn; everything learns.

    `input` is a contract of the target's own: another size, or grey instead of colour.  The first convolution then
    keeps its weights: for colour those of a grey source are repeated and divided by three, for grey those of a colour
    source are summed, so that a grey image in three equal channels gives what it gave before.
    """

    info = Info(
        summary="The source's whole architecture, with its weights or newly drawn, for other classes and other images.",
        when="The target's images are grey where the source's were coloured, or of another size.",
        needs=("checkpoint", "target_labels"),
        reference="He, Girshick & Dollár 2019, Rethinking ImageNet pre-training",
        multi_label=True,
        order=90,
    )

    examples = {"": {}, "new": {"weights": False}}

    name: Literal["structure_transfer"] = "structure_transfer"
    weights: bool = True
    input: InputSpec | None = None
    optimizer: Optimizer = "adamw"
