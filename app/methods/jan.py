"""`jan`: features and predictions of the same joint distribution in both domains."""

from typing import Literal

from app.methods.dan import Matching
from app.methods.terms import Weight


class Jan(Matching):
    """As `dan`, under the kernels' product with one on the predicted probabilities."""

    name: Literal["jan"] = "jan"
    weight: Weight = 1.0
