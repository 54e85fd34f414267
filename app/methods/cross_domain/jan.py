"""`jan`: features and predictions of the same joint distribution in both domains."""

from typing import Literal

from app.methods.base import Info
from app.methods.cross_domain.family import Matching


class Jan(Matching):
    """The discrepancy of `dan`, under the kernels' product with one on the predicted probabilities."""

    info = Info(
        summary="Features and predictions of the same joint distribution in both domains, by joint MMD.",
        when="As `dan`, where classes lie apart already.",
        needs=("checkpoint", "source_data"),
        reference="Long et al. 2017, Deep transfer learning with joint adaptation networks",
        order=280,
    )

    examples = {"": {"selection": "source_validation"}}

    name: Literal["jan"] = "jan"
