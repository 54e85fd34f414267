"""The start of a method that can do without a source: a network newly drawn, or the job's checkpoint."""

from typing import Self

from pydantic import model_validator

from app.contract.base import NULL, OBJECT
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Optimizer
from app.methods.base import NewNetwork
from app.methods.training import Loop


class Start(Loop):
    """`network` is drawn anew, for images as `input` says (left out: its usual input, or the dataset's own size).

    Without `network` the job's checkpoint is where it begins, which brings its own `input`.
    """

    between_fields = (
        {"anyOf": [{"properties": {"input": NULL}}, {"required": ["network"], "properties": {"network": OBJECT}}]},
    )

    network: NetworkSpec | None = None
    input: InputSpec | None = None
    optimizer: Optimizer = "adamw"

    @model_validator(mode="after")
    def _input_has_a_network(self) -> Self:
        if self.input is not None and self.network is None:
            raise ValueError("`input` is what a new `network` takes: a checkpoint brings its own")
        return self

    def new_network(self) -> NewNetwork | None:
        return None if self.network is None else NewNetwork(self.network, self.input)
