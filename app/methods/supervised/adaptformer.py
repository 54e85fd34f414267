"""`adaptformer`: bottlenecks beside the MLPs of a frozen vision transformer, and a new head."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.supervised.family import ParameterEfficient


class AdaptFormer(ParameterEfficient):
    """x + MLP(LN(x)) + `scale`·ReLU(LN(x)·W_down)·W_up in every block, with a bottleneck of `dimensions` (Chen et al.
    2022, eq. 4 and 5).

    The source's weights stay as they are, bit for bit.  The model is a network `extended`: the source's tensors under
    their own names, and the adapters.
    """

    info = Info(
        summary="Bottlenecks beside the MLPs of a frozen vision transformer, and a new head.",
        when="A vision transformer, and features that must change more than scales or low ranks can do.",
        needs=("checkpoint", "target_labels"),
        reference="Chen et al. 2022, AdaptFormer: adapting vision transformers for scalable visual recognition",
        multi_label=True,
        order=64,
    )

    examples = {"": {"dimensions": 4}}

    name: Literal["adaptformer"] = "adaptformer"
    dimensions: Annotated[int, Field(ge=1, le=4096)] = 64
    scale: Annotated[float, Field(gt=0, le=100)] = 0.1
