"""`layers`: the modules of a network that is described as data (`app.contract.layers`)."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from app.contract import layers as description
from app.contract.inputs import InputSpec
from app.contract.layers import NAME, AnyLayer, LayersOptions
from app.contract.networks import NetworkSpec
from worker.networks.family import CatalogueEntry, entry


class Residual(nn.Module):
    """The sum of what its other children make of x and what its child `shortcut` makes of it: x itself, if that is
    None."""

    def __init__(self, layers: Sequence[AnyLayer], shortcut: Sequence[AnyLayer] | None) -> None:
        super().__init__()
        children = _children(layers)
        for name, child in children.items():
            self.add_module(name, child)
        self._body = tuple(children)
        self.shortcut = None if shortcut is None else nn.Sequential(_children(shortcut))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for name in self._body:
            y = self.get_submodule(name)(y)
        return y + (x if self.shortcut is None else self.shortcut(x))


def knows(name: str) -> bool:
    return name == NAME


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    resolved = description.resolve(spec, input)
    return nn.Sequential(_children(resolved.layers))


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    """The input of the size that the description gives, if it does, and with pixel values as they are, 0–1."""
    shape = LayersOptions.model_validate(spec.options).input
    if shape is None:
        return None
    channels, height, width = shape
    return InputSpec(size=(height, width), channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)


def entries() -> Iterator[CatalogueEntry]:
    yield entry(NAME, "A network described as data.", options=LayersOptions.model_json_schema())


def _children(layers: Sequence[AnyLayer]) -> "OrderedDict[str, nn.Module]":
    return OrderedDict((str(layer.name), _module(layer)) for layer in layers)


def _module(layer: AnyLayer) -> nn.Module:
    match layer:
        case description.Sequential():
            return nn.Sequential(_children(layer.layers))
        case description.Residual():
            return Residual(layer.layers, layer.shortcut)
    keywords: dict[str, object] = layer.model_dump(exclude={"name", "type"})
    if "inplace" in keywords:
        keywords["inplace"] = False  # in place it would change what a shortcut has yet to read
    module: nn.Module = getattr(nn, layer.type)(**keywords)
    return module
