"""`extended`: a vision transformer with adapters or prompts, whose own tensors keep their names.

The parts are modules of its blocks, and act by hooks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.contract import extended
from app.contract.extended import AdapterParts, AnyParts, ExtendedOptions
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks import plain_transformer
from worker.networks.family import CatalogueEntry, entry
from worker.runtime.contract import Failure

ADAPTER, PROMPT = "adapter", "prompt"
DEVIATION = 0.02  # of tokens, as those of classes are drawn


class Bottleneck(nn.Module):
    """s·ReLU(x·W_down)·W_up (Chen et al. 2022, AdaptFormer, eq. 4), nothing at first."""

    def __init__(self, width: int, parts: AdapterParts) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, parts.dimensions), nn.Linear(parts.dimensions, width)
        self._scale = parts.scale
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x_BND: Tensor) -> Tensor:
        added_BND: Tensor = self._scale * self.up(self.down(x_BND).relu())
        return added_BND


class Prompt(nn.Module):
    """Tokens behind those that a block takes (Jia et al. 2022, visual prompt tuning, eq. 4 to 7).

    Where positions were added before, attention does not see where a token stands.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.token_PD = nn.Parameter(torch.empty(tokens, width))
        nn.init.trunc_normal_(self.token_PD, std=DEVIATION)

    def forward(self, x_BND: Tensor) -> Tensor:
        return torch.cat((x_BND, self.token_PD.expand(x_BND.shape[0], -1, -1)), dim=1)


class _Adds:
    """A hook of an MLP that adds what a bottleneck makes of the same.  An object, so that a copy of a network has its
    own."""

    def __init__(self, adapter: Bottleneck) -> None:
        self._adapter = adapter

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added: Tensor = self._adapter(inputs[0])
        return output + added


class _Drops:
    """A hook of a block that takes the last tokens away again."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output[:, : -self._tokens]


def _prompted(block: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    x_BND, *rest = inputs
    return (block.get_submodule(PROMPT)(x_BND), *rest)


def require_room(network: nn.Module, parts: AnyParts) -> None:
    """
    Raises:
        Failure: `does_not_fit`, the network is no plain vision transformer, or has such parts already.
    """
    if any(hasattr(block, _name(parts)) for block in plain_transformer.of(network).blocks.values()):
        raise Failure("does_not_fit", f"The network has {parts.kind} already: tune it, or extend what it was made of.")


def insert(network: nn.Module, parts: AnyParts) -> list[str]:
    """Give a vision transformer these parts, drawn from PyTorch's global generator; returns their paths.

    Raises:
        Failure: see `require_room`.
    """
    require_room(network, parts)
    transformer, name = plain_transformer.of(network), _name(parts)
    blocks, width = transformer.blocks, transformer.width
    if isinstance(parts, AdapterParts):
        for block in blocks.values():
            adapter = Bottleneck(width, parts)
            block.add_module(name, adapter)
            block.get_submodule("mlp").register_forward_hook(_Adds(adapter))
        return [f"{path}.{name}" for path in blocks]
    prompted = blocks if parts.deep else dict([next(iter(blocks.items()))])
    for block in prompted.values():
        block.add_module(name, Prompt(width, parts.tokens))
        block.register_forward_pre_hook(_prompted)
    for block in blocks.values() if parts.deep else [*blocks.values()][-1:]:
        block.register_forward_hook(_Drops(parts.tokens))
    return [f"{path}.{name}" for path in prompted]


def _name(parts: AnyParts) -> str:
    return ADAPTER if isinstance(parts, AdapterParts) else PROMPT


@dataclass(frozen=True)
class ExtendedFamily:
    """The networks named `extended`; the functions build the network within, and say what it takes."""

    build_base: Callable[[NetworkSpec, InputSpec], nn.Module]
    base_input: Callable[[NetworkSpec], InputSpec | None]

    def knows(self, name: str) -> bool:
        return name == extended.NAME

    def build(self, spec: NetworkSpec, input: InputSpec) -> nn.Module:
        network = self.build_base(extended.base(spec), input)
        insert(network, ExtendedOptions.model_validate(spec.options).parts)
        return network

    def usual_input(self, spec: NetworkSpec) -> InputSpec | None:
        return self.base_input(extended.base(spec))

    def entries(self) -> Iterator[CatalogueEntry]:
        yield entry(
            extended.NAME,
            "A vision transformer of timm or torchvision with adapters, or with prompts.",
            options=ExtendedOptions.model_json_schema(),
        )
