"""`train`: a network from scratch."""

from collections.abc import Iterator
from typing import Literal

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Optimizer
from app.core.errors import Detail
from app.methods.base import SOME_INPUT, SOME_NETWORK, Info, NewNetwork
from app.methods.facts import JobFacts, wrong_outputs
from app.methods.training import Training


class Train(Training):
    """Takes no `checkpoint` but a `network`; `input` defaults to the network's usual one; of a library's, at the
    dataset's own size."""

    info = Info(
        summary="Train a network from scratch.",
        when="There is no source worth transferring from, or a baseline is wanted beside a transfer.",
        needs=("target_labels",),
        reference="LeCun et al. 1998, Gradient-based learning applied to document recognition",
        multi_label=True,
        order=10,
    )

    examples = {
        "": {"network": SOME_NETWORK, "input": SOME_INPUT},
        "adamw": {
            "network": SOME_NETWORK,
            "input": SOME_INPUT,
            "optimizer": "adamw",
            "learning_rate": 0.01,
            "scheduler": "step",
            "warmup_epochs": 1,
            "label_smoothing": 0.1,
        },
        "multi_label": {"network": SOME_NETWORK, "input": SOME_INPUT},
    }

    name: Literal["train"] = "train"
    network: NetworkSpec
    input: InputSpec | None = None
    optimizer: Optimizer = "adamw"  # from scratch on little data it forgives more

    def new_network(self) -> NewNetwork:
        return NewNetwork(self.network, self.input)

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        yield from wrong_outputs(self.network, facts.target)
        yield from super().check(facts)
