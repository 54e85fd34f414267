"""`adabn`: batch norm's statistics, estimated again on the target's images."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.source_free.family import SourceFree


class AdaBn(SourceFree):
    """No gradient.  `prior`: the source's statistics count as much as those of so many target images."""

    name: Literal["adabn"] = "adabn"
    batch_size: Annotated[int, Field(ge=16, le=65_536)] = 256
    prior: Annotated[int, Field(ge=0, le=10_000_000)] = 0
