"""`group_dro`: the environments that go worst weigh most."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.generalisation.family import Generalisation


class GroupDro(Generalisation):
    """`eta`: how fast the weights of the environments follow their losses."""

    info = Info(
        summary="The environments that go worst weigh most.",
        when="The target may be like the hardest of the environments.",
        needs=("environments",),
        takes=("checkpoint",),
        reference="Sagawa et al. 2020, Distributionally robust neural networks for group shifts",
        order=220,
    )

    examples = {"": {"environments": ["ds_here", "ds_there", "ds_yonder"], "eta": 0.5}}

    name: Literal["group_dro"] = "group_dro"
    selection: Literal["mean", "worst", "last"] = "worst"
    eta: Annotated[float, Field(gt=0, le=10)] = 0.01
