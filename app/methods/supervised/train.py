"""`train`: a network from scratch."""

from typing import Literal

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Optimizer
from app.methods.base import Info
from app.methods.training import Training


class Train(Training):
    """Takes no `checkpoint` but a `network`; `input` defaults to the network's usual one or the dataset's own size."""

    info = Info(
        summary="Train a network from scratch.",
        when="There is no source worth transferring from, or a baseline is wanted beside a transfer.",
        needs=("target_labels",),
        reference="LeCun et al. 1998, Gradient-based learning applied to document recognition",
        multi_label=True,
        order=10,
    )

    name: Literal["train"] = "train"
    network: NetworkSpec
    input: InputSpec | None = None
    optimizer: Optimizer = "adamw"  # from scratch on little data it forgives more
