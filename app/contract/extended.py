"""`extended`: a vision transformer with parts of few weights beside its own, which learn while those are frozen."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import FreeDocument, StrictModel
from app.contract.networks import NetworkSpec

NAME = "extended"


class AdapterParts(StrictModel):
    """Bottlenecks of `dimensions` beside the MLPs of all blocks, whose outputs count `scale` times."""

    kind: Literal["adapters"] = "adapters"
    dimensions: Annotated[int, Field(ge=1, le=4096)]
    scale: Annotated[float, Field(gt=0, le=100)]


class PromptParts(StrictModel):
    """Learned `tokens` among those that the first block takes; `deep`: every block has tokens of its own."""

    kind: Literal["prompts"] = "prompts"
    tokens: Annotated[int, Field(ge=1, le=1000)]
    deep: bool


AnyParts = Annotated[AdapterParts | PromptParts, Field(discriminator="kind")]


class BaseNetwork(StrictModel):
    """The network that is extended; it has as many classes as the whole."""

    name: str
    options: FreeDocument = {}


class ExtendedOptions(StrictModel):
    """`base` is a vision transformer of timm or torchvision, whose tensors keep their names; `parts` is what it has
    beside them."""

    base: BaseNetwork
    parts: AnyParts


def spec(base: NetworkSpec, parts: AnyParts) -> NetworkSpec:
    options = ExtendedOptions(base=BaseNetwork(name=base.name, options=base.options), parts=parts)
    return NetworkSpec(name=NAME, num_classes=base.num_classes, options=options.model_dump(mode="json"))


def base(spec: NetworkSpec) -> NetworkSpec:
    """The network that an extended one is made of.

    Raises:
        ValidationError: the options are none of an extended network.
    """
    found = ExtendedOptions.model_validate(spec.options).base
    return NetworkSpec(name=found.name, num_classes=spec.num_classes, options=found.options)
