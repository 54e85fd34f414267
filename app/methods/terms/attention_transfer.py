"""`attention_transfer`: a teacher's attention maps."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.terms.base import Taught, TermInfo, Weight


class AttentionTransfer(Taught):
    """Squared distance of the normalised attention maps (channels' mean square) of the last `stages` stages."""

    info = TermInfo(
        needs=("teacher",),
        reference="Zagoruyko & Komodakis 2017, Paying more attention to attention",
        order=70,
    )

    name: Literal["attention_transfer"] = "attention_transfer"
    weight: Weight = 10.0
    stages: Annotated[int, Field(ge=1, le=16)] = 3
