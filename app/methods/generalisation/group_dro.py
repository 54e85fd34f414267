"""`group_dro`: the environments that go worst weigh most."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.generalisation.family import Generalisation


class GroupDro(Generalisation):
    """`eta`: how fast the weights of the environments follow their losses."""

    name: Literal["group_dro"] = "group_dro"
    selection: Literal["mean", "worst", "last"] = "worst"
    eta: Annotated[float, Field(gt=0, le=10)] = 0.01
