"""`jan`: features and predictions of the same joint distribution in both domains."""

from typing import Literal

from app.methods.cross_domain.dan import Matching


class Jan(Matching):
    """As `dan`, under the kernels' product with one on the predicted probabilities."""

    name: Literal["jan"] = "jan"
