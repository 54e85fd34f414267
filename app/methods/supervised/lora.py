"""`lora`: low-rank corrections of frozen weights, and a new head."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.inputs import InputOverride
from app.methods.base import Info
from app.methods.training import Training


class Lora(Training):
    """W + (α/r)·BA, with A and B of rank `rank` for every linear layer and every ungrouped convolution (`targets`).

    The source's weights and statistics stay as they are, bit for bit; what is downloaded as weights has the corrections
    merged in, the adapter alone comes as `format=adapter`.  `dora`: the size of every output's weights is learned by
    itself, and the correction gives their direction alone (Liu et al. 2024, DoRA: weight-decomposed low-rank
    adaptation, eq. 5).
    """

    info = Info(
        summary="Low-rank corrections of frozen weights, and a new head.",
        when="A large source for many targets: an adapter of a few per cent of its size is kept for each.",
        needs=("checkpoint", "target_labels"),
        reference="Hu et al. 2022, LoRA: low-rank adaptation of large language models",
        multi_label=True,
        order=60,
    )

    examples = {"": {"rank": 2, "dropout": 0.1}, "dora": {"rank": 2, "dora": True}}

    name: Literal["lora"] = "lora"
    rank: Annotated[int, Field(ge=1, le=512)] = 8
    alpha: Annotated[float, Field(gt=0, le=1e4)] = 8.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Literal["all", "linear", "convolutions"] = "all"
    dora: bool = False
    optimizer: Literal["sgd", "adamw"] = "adamw"
    input: InputOverride | None = None
