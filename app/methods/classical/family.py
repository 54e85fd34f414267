"""Parameters that the classical learners on frozen features share."""

from typing import Annotated

from pydantic import Field

from app.contract.inputs import InputOverride
from app.methods.training import LabelBudget

Strength = Annotated[float, Field(gt=0, le=1e9)]


class OnFeatures(LabelBudget):
    """Fitted on the standardised features of the source's backbone, which stays as it is, bit for bit.

    What is left open is chosen among a few values by accuracy on the validation split (without one, by cross-validation
    on the training images), and echoed.
    """

    input: InputOverride | None = None
