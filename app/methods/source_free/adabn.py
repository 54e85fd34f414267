"""`adabn`: batch norm's statistics, estimated again on the target's images."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.source_free.family import SourceFree


class AdaBn(SourceFree):
    """No gradient.  `prior`: the source's statistics count as much as those of so many target images."""

    info = Info(
        summary="Estimate batch norm's statistics again on images without labels; nothing is trained.",
        when="The target differs in contrast, brightness or noise, and an answer is wanted in seconds.",
        needs=("checkpoint",),
        reference="Li et al. 2018, Adaptive batch normalization for practical domain adaptation",
        order=390,
    )

    examples = {"": {"batch_size": 16, "prior": 10}}

    name: Literal["adabn"] = "adabn"
    batch_size: Annotated[int, Field(ge=16, le=65_536)] = 256
    prior: Annotated[int, Field(ge=0, le=10_000_000)] = 0
