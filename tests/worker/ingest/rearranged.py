"""Weights of a network by other names, in other orders and wrappers, made of its own `state_dict`."""

import re
from collections.abc import Mapping

from torch import Tensor

State = dict[str, Tensor]


def of_efficientnet_pytorch(state: Mapping[str, Tensor]) -> State:
    """timm's EfficientNet by the names of the packages EfficientNet-PyTorch and -Lite, blocks numbered throughout."""
    numbers: dict[str, int] = {}
    depthwise = {name.rpartition(".conv_pwl")[0] for name in state if ".conv_pwl" in name}
    renamed: State = {}
    for name, tensor in state.items():
        if block := re.match(r"blocks\.\d+\.\d+", name):
            inverted = block[0] in depthwise
            parts = {"conv_dw": "_depthwise_conv", "bn3": "_bn2", "conv_pwl": "_project_conv"}
            parts |= (
                {"conv_pw": "_expand_conv", "bn1": "_bn0", "bn2": "_bn1"}
                if inverted
                else {"conv_pw": "_project_conv", "bn1": "_bn1", "bn2": "_bn2"}
            )
            part, _, rest = name.removeprefix(f"{block[0]}.").partition(".")
            renamed[f"_blocks.{numbers.setdefault(block[0], len(numbers))}.{parts[part]}.{rest}"] = tensor
        else:
            parts = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            part, _, rest = name.partition(".")
            renamed[f"{({**parts, 'classifier': '_fc'})[part]}.{rest}"] = tensor
    return renamed


def in_words_of_nobody(state: Mapping[str, Tensor]) -> State:
    """timm's EfficientNet by names that no library has, but numbered as people do."""
    words = {"_conv": "kernel", "_bn": "affine", "_blocks": "unit", "_depthwise": "spatial", "_fc": "score"}
    pattern = re.compile("|".join(words))
    renamed = of_efficientnet_pytorch(state)
    return {pattern.sub(lambda match: words[match[0]], name): tensor for name, tensor in renamed.items()}


def numbered(state: Mapping[str, Tensor]) -> State:
    """Without names: `p0`, `p1`, … in their order."""
    return {f"p{number}": tensor for number, tensor in enumerate(state.values())}


def sorted_by_name(state: Mapping[str, Tensor]) -> State:
    """As safetensors has them."""
    return dict(sorted(state.items()))


def under(state: Mapping[str, Tensor], prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def without(state: Mapping[str, Tensor], *prefixes: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}
