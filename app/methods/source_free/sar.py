"""`sar`: the entropy of sure predictions, lowered where it is lower all around."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.source_free.family import Reliable


class Sar(Reliable):
    """Minimises the greatest mean entropy of sure predictions within `rho` of the weights: norms' scales and shifts.

    Those of the last `frozen_stages` stages stay (left out: of a quarter of all).  Where the moving average of the loss
    falls below `recovery_margin` of the greatest entropy, ln K, the network is about to say one class of everything: it
    begins anew with the source's weights.  0: it never does.
    """

    info = Info(
        summary="Make sure predictions surer by norms of any kind, in flat minima, and begin anew in time.",
        when="As `tent`, for transformers and other networks without batch norm, and for small batches.",
        needs=("checkpoint",),
        reference="Niu et al. 2023, Towards stable test-time adaptation in dynamic wild world",
        order=404,
    )

    examples = {
        "": {"batch_size": 20, "entropy_margin": 0.99},
        "lost": {"batch_size": 20, "entropy_margin": 1.0, "recovery_margin": 0.98},
    }

    name: Literal["sar"] = "sar"
    rho: Annotated[float, Field(gt=0, le=10)] = 0.05
    frozen_stages: Annotated[int, Field(ge=0, le=64)] | None = None
    recovery_margin: Annotated[float, Field(ge=0, lt=1)] = 0.03
