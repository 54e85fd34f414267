"""`evaluate`: the checkpoint unchanged."""

from typing import Literal

from app.contract.inputs import InputOverride
from app.methods.base import Parameters


class Evaluate(Parameters):
    """No training; the test split of the dataset is read once."""

    name: Literal["evaluate"] = "evaluate"
    input: InputOverride | None = None
