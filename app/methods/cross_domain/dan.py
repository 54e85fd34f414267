"""`dan`: features of the same distribution in both domains, by several kernels."""

from typing import Literal

from app.methods.base import Info
from app.methods.cross_domain.family import Matching


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

    examples = {"": {"selection": "last"}}

    name: Literal["dan"] = "dan"
