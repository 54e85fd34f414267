"""`train`: a network from scratch."""

from typing import Literal

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Optimizer
from app.methods.training import Training


class Train(Training):
    """Takes no `checkpoint` but a `network`; `input` defaults to the network's usual one or the dataset's own size."""

    name: Literal["train"] = "train"
    network: NetworkSpec
    input: InputSpec | None = None
    optimizer: Optimizer = "adamw"  # from scratch on little data it forgives more
