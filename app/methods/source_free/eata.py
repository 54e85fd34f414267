"""`eata`: the entropy of sure predictions that are unlike the others', lowered near the source's norms."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.source_free.family import Reliable


class Eata(Reliable):
    """Minimises Σ S·H(p) + `anti_forgetting` · Σ ω(θ − θ₀)² over norms' scales and shifts θ, θ₀ the source's.

    S is exp(E₀ − H(p)), or 0 where H(p) is not less than E₀ = `entropy_margin` · ln K, or where the cosine of p with
    the moving average of what was taken before is `cosine_margin` or more (left out: 1.3/√K).  ω is the Fisher
    information of θ on `images` images: of the job's `source_dataset`, where that is known, else of the target.
    """

    info = Info(
        summary="Make sure predictions surer that are unlike each other, by norms that are held near the source's.",
        when="As `tent`, where images are to be like the source's, too, or many show the same; norms of any kind.",
        needs=("checkpoint",),
        reference="Niu et al. 2022, Efficient test-time model adaptation without forgetting",
        order=402,
    )

    examples = {
        "": {"batch_size": 20, "entropy_margin": 0.99, "cosine_margin": 0.97},
        "free": {"batch_size": 20, "entropy_margin": 0.99, "anti_forgetting": 0.0},
    }

    name: Literal["eata"] = "eata"
    cosine_margin: Annotated[float, Field(gt=0, le=1)] | None = None
    anti_forgetting: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    images: Annotated[int, Field(ge=1, le=100_000)] = 500
