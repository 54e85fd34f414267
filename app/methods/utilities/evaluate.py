"""`evaluate`: the checkpoint unchanged."""

from typing import Literal

from app.contract.inputs import InputOverride
from app.methods.base import Info, Method


class Evaluate(Method):
    """No training; the test split of the dataset is read once."""

    info = Info(
        summary="Measure a checkpoint unchanged on a dataset.",
        when="First of all: what does the source already do on the target?",
        needs=("checkpoint", "target_labels"),
        reference="Guo et al. 2017, On calibration of modern neural networks (calibration error)",
        gives_model=False,
        multi_label=True,
        order=20,
    )

    name: Literal["evaluate"] = "evaluate"
    input: InputOverride | None = None
