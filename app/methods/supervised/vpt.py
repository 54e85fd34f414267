"""`vpt`: learned tokens among those of a frozen vision transformer, and a new head."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.supervised.family import ParameterEfficient


class Vpt(ParameterEfficient):
    """`tokens` more for every block to attend to, of its own (`deep`), or for the first one, whose outputs go through
    all others (Jia et al. 2022, VPT-deep and VPT-shallow).

    The source's weights stay as they are, bit for bit.  The model is a network `extended`: the source's tensors under
    their own names, and the tokens.
    """

    info = Info(
        summary="Learned tokens among those of a frozen vision transformer, and a new head.",
        when="A vision transformer, few labels, and target classes that the source's features know already.",
        needs=("checkpoint", "target_labels"),
        reference="Jia et al. 2022, Visual prompt tuning",
        multi_label=True,
        order=66,
    )

    examples = {"": {"tokens": 3}, "shallow": {"tokens": 3, "deep": False}}

    name: Literal["vpt"] = "vpt"
    tokens: Annotated[int, Field(ge=1, le=1000)] = 10
    deep: bool = True
