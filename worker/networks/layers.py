"""`layers`: the modules of a network that is described as data (`app.contract.layers`)."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.contract import layers as description
from app.contract.inputs import InputSpec
from app.contract.layers import NAME, AnyLayer, LayersOptions
from app.contract.networks import NetworkSpec
from worker.networks.family import CatalogueEntry, entry


class Joined(nn.Module, ABC):
    """A block joins what its other children make of x with what its child `shortcut` makes of it: x itself, if that
    is None."""

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
        return self.join(y, x if self.shortcut is None else self.shortcut(x))

    @abstractmethod
    def join(self, y: Tensor, around: Tensor) -> Tensor:
        """Join `y`, of the children, with `around`, of the shortcut."""


class Residual(Joined):
    def join(self, y: Tensor, around: Tensor) -> Tensor:
        return y + around


class Product(Joined):
    """y is [B,C,H,W], [B,C,1,1] or [B,C]."""

    def join(self, y: Tensor, around: Tensor) -> Tensor:
        return around * y.reshape(*y.shape, *(1 for _ in around.shape[y.ndim :]))


class Concatenation(Joined):
    def join(self, y: Tensor, around: Tensor) -> Tensor:
        return torch.cat((around, y), dim=1)


class PadChannels(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.pad(x_BCHW, (0, 0, 0, 0, self.before, self.after))


class Subsample(nn.Module):
    def __init__(self, stride: int | tuple[int, int]) -> None:
        super().__init__()
        self.rows, self.columns = stride if isinstance(stride, tuple) else (stride, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW[:, :, :: self.rows, :: self.columns]


class GlobalAvgPool2d(nn.Module):
    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.mean((2, 3))


class GlobalMaxPool2d(nn.Module):
    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.amax((2, 3))


JOINED: dict[str, type[Joined]] = {kind.__name__: kind for kind in (Residual, Product, Concatenation)}
OWN: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (PadChannels, Subsample, GlobalAvgPool2d, GlobalMaxPool2d)
}


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
        case description.Block():
            return JOINED[layer.type](layer.layers, layer.shortcut)
    keywords: dict[str, object] = layer.model_dump(exclude={"name", "type"})
    if "inplace" in keywords:
        keywords["inplace"] = False  # in place it would change what a shortcut has yet to read
    module: nn.Module = (OWN.get(layer.type) or getattr(nn, layer.type))(**keywords)
    return module
