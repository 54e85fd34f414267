"""What all parameter classes share: parsed at the edge, closed, finite."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Closed(BaseModel):
    """Unknown fields, NaN and infinity are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
ObjectId = Annotated[str, Field(pattern=r"^[a-z]+_[0-9a-z]{4,40}$", max_length=64)]
