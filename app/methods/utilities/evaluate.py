"""`evaluate`: the checkpoint unchanged."""

from collections.abc import Iterator
from typing import Literal

from app.contract.inputs import InputOverride
from app.core.errors import Detail
from app.methods.base import Info, Method
from app.methods.facts import JobFacts, fault, other_kind, some


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

    learns_from_target = False
    asks_source = True

    name: Literal["evaluate"] = "evaluate"
    input: InputOverride | None = None

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        source, target = facts.source, facts.target
        if source is not None and not source.shares_classes(target):
            yield fault(
                "dataset",
                f"{source.id} and {target.id} share no class name: {some(source.classes or ())} there, "
                f"{some(target.classes or ())} here. Adapt the checkpoint with another method.",
            )
        if target.lacks("test"):
            yield fault("dataset", f"The test split of {target.id} is empty.")

    def check_networks(self, facts: JobFacts) -> Iterator[Detail]:
        return other_kind("dataset", facts.source, facts.target)
