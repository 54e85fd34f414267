"""`dan`: features of the same distribution in both domains, by several kernels."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.cross_domain.family import CrossDomain
from app.methods.terms.base import Weight
from app.methods.training import Rates


class Matching(CrossDomain):
    """A discrepancy of the domains that is minimised itself, at a constant weight, as its authors do.

    At the default weight it ends about as large as the loss on labels, on digits.
    """

    weight: Weight = 3.0
    ramp: Annotated[float, Field(gt=0, le=1000)] | None = None

    def usual(self) -> Rates:
        usual = super().usual()
        return usual._replace(learning_rate=usual.learning_rate * 0.3)


class Dan(Matching):
    """MMD² of the features under the sum of five Gaussian kernels, whose widths follow the features."""

    info = Info(
        summary="Features of the same distribution in both domains, by MMD under several kernels.",
        when="As `dann`, where a game of two players is not to be trusted: nothing adversarial, nothing that learns "
        "beside.",
        needs=("checkpoint", "source_data"),
        reference="Long et al. 2015, Learning transferable features with deep adaptation networks",
        order=270,
    )

    name: Literal["dan"] = "dan"
