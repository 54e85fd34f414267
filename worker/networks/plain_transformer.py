"""Plain vision transformers of timm and torchvision: where their blocks and their tokens are."""

import math
from dataclasses import dataclass

from torch import nn

from worker.runtime.contract import Failure

KIND = "VisionTransformer"  # what both libraries call plain ones, and timm all that add a token


@dataclass(frozen=True)
class PlainTransformer:
    """Blocks by their paths, in order, all of tokens [B,T,D] of which the first `prefix` are of no patch.

    `placed` is the path of the module that gives all tokens once they have their positions, before any block; `last` of
    the one that gives them behind all blocks.  `patch` is (height, width) in pixels.
    """

    blocks: dict[str, nn.Module]
    width: int
    patch: tuple[int, int]
    prefix: int
    placed: str
    last: str

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches of an image of `size`."""
        return size[0] // self.patch[0], size[1] // self.patch[1]

    def patches(self, size: tuple[int, int]) -> int:
        return math.prod(self.grid(size))


def of(network: nn.Module) -> PlainTransformer:
    """
    Raises:
        Failure: `does_not_fit`, the network is no plain vision transformer.
    """
    children = dict(network.named_children())
    found = None
    if any(one.__name__ == KIND for one in type(network).__mro__):
        if {"patch_embed", "blocks", "patch_drop", "norm"} <= children.keys():
            found = _of_timm(network)
        elif {"conv_proj", "encoder"} <= children.keys():
            found = _of_torchvision(network)
    if found is None or not all(isinstance(getattr(one, "mlp", None), nn.Module) for one in found.blocks.values()):
        raise Failure(
            "does_not_fit",
            f"{type(network).__name__} is no plain vision transformer (`{KIND}` of timm or torchvision): it has no "
            "blocks of tokens that all see each other.",
        )
    return found


def _of_timm(network: nn.Module) -> PlainTransformer:
    about: dict[str, object] = vars(network)
    patch: tuple[int, int] = vars(network.get_submodule("patch_embed"))["patch_size"]
    prefix, dimensions = about["num_prefix_tokens"], about["embed_dim"]
    assert isinstance(prefix, int)
    assert isinstance(dimensions, int)
    return PlainTransformer(_blocks(network, "blocks"), dimensions, patch, prefix, "patch_drop", "norm")


def _of_torchvision(network: nn.Module) -> PlainTransformer:
    patches = network.get_submodule("conv_proj")
    assert isinstance(patches, nn.Conv2d)
    height, width = patches.kernel_size
    blocks = _blocks(network, "encoder.layers")
    return PlainTransformer(blocks, patches.out_channels, (height, width), 1, "encoder.dropout", "encoder.ln")


def _blocks(network: nn.Module, path: str) -> dict[str, nn.Module]:
    return {f"{path}.{name}": block for name, block in network.get_submodule(path).named_children()}
