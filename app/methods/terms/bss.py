"""`bss`: batch spectral shrinkage."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.terms.base import Term, TermInfo, Weight


class Bss(Term):
    """Batch spectral shrinkage: the sum of the `k` smallest squared singular values of a batch's features."""

    info = TermInfo(
        reference="Chen et al. 2019, Catastrophic forgetting meets negative transfer",
        order=30,
    )

    name: Literal["bss"] = "bss"
    weight: Weight = 0.001
    k: Annotated[int, Field(ge=1, le=64)] = 1
