"""`feature_transfer`: stages of the source in a network of the same or another architecture, the rest new."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import Text
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Optimizer
from app.methods.base import SOME_NETWORK, Info
from app.methods.training import Training

ModulePath = Annotated[Text, Field(max_length=256)]


class FeatureTransfer(Training):
    """`network` is the target's; left out, the source's with a new head.

    What is copied: the modules of `mapping` (the source's path → the target's), or else the first `stages` stages of
    the source (all, if left out), each layer to the target's layer of the same kind and shape, in order.  What was
    copied is frozen bit for bit, unless `tunable`.
    """

    info = Info(
        summary="Stages of the source in a network of the same or another architecture, the rest new.",
        when="The target wants another network, or only the source's early features are general enough for it.",
        needs=("checkpoint", "target_labels"),
        reference="Yosinski et al. 2014, How transferable are features in deep neural networks?",
        multi_label=True,
        order=80,
    )

    examples = {"": {"stages": 1}, "tunable": {"network": SOME_NETWORK, "tunable": True}}

    name: Literal["feature_transfer"] = "feature_transfer"
    network: NetworkSpec | None = None
    mapping: Annotated[dict[ModulePath, ModulePath], Field(max_length=1000)] | None = None
    stages: Annotated[int, Field(ge=1, le=64)] | None = None
    tunable: bool = False
    input: InputSpec | None = None
    optimizer: Optimizer = "adamw"
