"""`evaluate`: the checkpoint unchanged."""

from typing import Literal

from app.methods.base import Parameters
from app.methods.inputs import InputOverride


class Evaluate(Parameters):
    """No training; the test split of the dataset is read once."""

    name: Literal["evaluate"] = "evaluate"
    input: InputOverride | None = None
