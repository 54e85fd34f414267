"""Checkpoints under names that were written down here: of libraries and of papers' code that are no dependency.

Those of libraries were compared with their own networks when they were written (`efficientnet_pytorch` 0.7.1,
`efficientnet_lite_pytorch` 0.1.0, `open_clip_torch` 3.3.0, `mmpretrain` 1.2.0): the same names, the same shapes but for
dimensions of one and indices that are worked out, and outputs within 1e-4.
"""

import re
from collections.abc import Callable, Mapping

import timm
import torch
from torch import Tensor

from tests.worker.ingest.layouts import CLASSES, Checkpoint, Layout, State, lively

Rename = Callable[[str], str]


def in_order(*pairs: tuple[str, str]) -> Rename:
    """Substitutions of regular expressions, all that fit, one after another."""

    def rename(name: str) -> str:
        for pattern, replacement in pairs:
            name = re.sub(pattern, replacement, name)
        return name

    return rename


def of_timm(
    network: str,
    rename: Rename,
    *,
    side: int = 64,
    beside: Mapping[str, tuple[int, ...]] | None = None,
    heavy: bool = False,
    sized: bool = False,
    classes: int = CLASSES,
    change: Callable[[State], State] = dict,
) -> Layout:
    """timm's network under other names; `beside` are names and shapes of what else such a file holds."""

    def make(device: str) -> Checkpoint:
        options = {"img_size": side} if sized else {}
        with torch.random.fork_rng(), torch.device(device):
            theirs = lively(timm.create_model(network, num_classes=classes, **options), side)
            others = {name: torch.ones(shape) for name, shape in (beside or {}).items()}
        state = {rename(name): tensor for name, tensor in theirs.state_dict().items()}
        return Checkpoint(change(state) | others, theirs)

    return Layout(make, f"timm/{network}", side=side, heavy=heavy, classes=classes)


def flat(name: str) -> str:
    """timm's blocks of EfficientNet-B0, numbered through."""
    counts = (1, 2, 2, 3, 3, 4, 1)
    return re.sub(r"^blocks\.(\d)\.(\d)", lambda m: f"_blocks.{sum(counts[: int(m[1])]) + int(m[2])}", name)


def lukemelas(name: str) -> str:
    name = flat(name)
    plain = [("conv_dw", "_depthwise_conv"), ("bn1", "_bn1"), ("conv_pw", "_project_conv"), ("bn2", "_bn2")]
    expanding = [("conv_pwl", "_project_conv"), ("conv_pw", "_expand_conv"), ("conv_dw", "_depthwise_conv")]
    expanding += [("bn1", "_bn0"), ("bn2", "_bn1"), ("bn3", "_bn2")]
    rest = [("conv_stem", "_conv_stem"), ("conv_head", "_conv_head"), ("bn1", "_bn0"), ("bn2", "_bn1")]
    parts = [("se.conv_reduce", "_se_reduce"), ("se.conv_expand", "_se_expand"), ("classifier", "_fc")]
    names = plain if name.startswith("_blocks.0.") else expanding if name.startswith("_blocks.") else rest
    return in_order(*((rf"(^|\.){old}\.", rf"\1{new}.") for old, new in [*names, *parts]))(name)


def mm_efficientnet(name: str) -> str:
    """timm's EfficientNet-B0, its blocks grouped by their strides."""
    groups = {0: (1, 0), 1: (2, 0), 2: (3, 0), 3: (4, 0), 4: (4, 3), 5: (5, 0), 6: (5, 4)}  # and blocks before it
    block = re.match(r"blocks\.(\d)\.(\d)\.(.+)", name)
    if block is None:
        ends = (("conv_stem", "layers.0.conv"), ("bn1", "layers.0.bn"), ("conv_head", "layers.6.conv"))
        name = in_order(*((rf"^{old}\.", f"{new}.") for old, new in (*ends, ("bn2", "layers.6.bn"))))(name)
        return name.replace("classifier", "head.fc") if name.startswith("classifier") else f"backbone.{name}"
    group, before = groups[int(block[1])]
    plain = {"conv_dw": "depthwise_conv.conv", "bn1": "depthwise_conv.bn", "conv_pw": "linear_conv.conv"}
    plain |= {"bn2": "linear_conv.bn"}
    full = {"conv_pw": "expand_conv.conv", "bn1": "expand_conv.bn", "conv_dw": "depthwise_conv.conv"}
    full |= {"bn2": "depthwise_conv.bn", "conv_pwl": "linear_conv.conv", "bn3": "linear_conv.bn"}
    parts = (plain if block[1] == "0" else full) | {"se": "se"}
    part, _, rest = block[3].partition(".")
    rest = rest.replace("conv_reduce", "conv1.conv").replace("conv_expand", "conv2.conv")
    return f"backbone.layers.{group}.{before + int(block[2])}.{parts[part]}.{rest}"


def openai(state: State) -> State:
    """The projection [D,E] is no layer and has no bias; positions and class token have no dimension for a batch."""
    state = dict(state)
    state.pop("visual.head.bias").zero_()  # the network's own
    state["visual.proj"] = state.pop("visual.head.weight").T.contiguous()
    state["visual.positional_embedding"] = state["visual.positional_embedding"][0]
    state["visual.class_embedding"] = state["visual.class_embedding"][0, 0]
    return state


def neighbours(state: State) -> State:
    """mmpretrain merges patches channel by channel."""

    def reordered(tensor: Tensor) -> Tensor:
        *front, width = tensor.shape
        return tensor.reshape(*front, 2, 2, width // 4).movedim(-1, -3).mT.reshape(*front, width).contiguous()

    return {name: reordered(tensor) if ".downsample." in name else tensor for name, tensor in state.items()}


OPENAI = in_order(
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^patch_embed\.proj", "conv1"),
    (r"^norm_pre", "ln_pre"),
    (r"^norm\.", "ln_post."),
    (r"^blocks", "transformer.resblocks"),
    (r"attn\.qkv\.", "attn.in_proj_"),
    (r"attn\.proj", "attn.out_proj"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"\.norm(\d)", r".ln_\1"),
    (r"^", "visual."),
)
FACEBOOK_CONVNEXT = in_order(
    (r"^stem", "downsample_layers.0"),
    (r"^stages\.(\d)\.downsample", r"downsample_layers.\1"),
    (r"^stages\.(\d)\.blocks", r"stages.\1"),
    ("conv_dw", "dwconv"),
    (r"mlp\.fc", "pwconv"),
    (r"mlp\.grn\.weight", "grn.gamma"),
    (r"mlp\.grn\.bias", "grn.beta"),
    (r"head\.norm", "norm"),
    (r"head\.fc", "head"),
)
MM_CONVNEXT = in_order(
    (r"^stem", "downsample_layers.0"),
    (r"^stages\.(\d)\.downsample", r"downsample_layers.\1"),
    (r"^stages\.(\d)\.blocks", r"stages.\1"),
    ("conv_dw", "depthwise_conv"),
    (r"mlp\.fc", "pointwise_conv"),
    (r"^head\.norm", "norm3"),
    (r"^(?!head)", "backbone."),
)
MM_VIT = in_order(
    (r"^patch_embed\.proj", "patch_embed.projection"),
    (r"^norm\.", "ln1."),
    (r"^blocks", "layers"),
    (r"\.norm(\d)", r".ln\1"),
    (r"mlp\.fc1", "ffn.layers.0.0"),
    (r"mlp\.fc2", "ffn.layers.1"),
    (r"^(?!head)", "backbone."),
    (r"^head\.", "head.layers.head."),
)
MM_SWIN = in_order(
    (r"^patch_embed\.proj", "patch_embed.projection"),
    (r"^layers\.(\d)\.downsample", lambda match: f"stages.{int(match[1]) - 1}.downsample"),
    (r"^layers", "stages"),
    (r"attn\.", "attn.w_msa."),
    (r"mlp\.fc1", "ffn.layers.0.0"),
    (r"mlp\.fc2", "ffn.layers.1"),
    (r"^norm\.", "norm3."),
    (r"^(?!head)", "backbone."),
)
MM_DENSENET = in_order(
    (r"^features\.(conv|norm)0", lambda match: f"stem.{int(match[1] == 'norm')}"),
    (r"^features\.denseblock(\d)\.denselayer(\d+)", lambda m: f"stages.{int(m[1]) - 1}.block.{int(m[2]) - 1}"),
    (r"^features\.transition(\d)", lambda match: f"transitions.{int(match[1]) - 1}"),
    (r"^features\.norm5", "transitions.3.0"),
    (r"^(?!classifier)", "backbone."),
    (r"^classifier", "head.fc"),
)
MM_REGNET = in_order(
    (r"^stem\.conv", "conv1"),
    (r"^stem\.bn", "bn1"),
    (r"downsample\.conv", "downsample.0"),
    (r"downsample\.bn", "downsample.1"),
    (r"conv(\d)\.(conv|bn)", r"\2\1"),
    (r"^s(\d)\.b(\d+)", lambda match: f"layer{match[1]}.{int(match[2]) - 1}"),
    (r"^(?!head)", "backbone."),
)
MICROSOFT_SWIN = in_order(
    (r"^layers\.(\d)\.downsample", lambda match: f"layers.{int(match[1]) - 1}.downsample"), (r"^head\.fc", "head")
)


def same(name: str) -> str:
    return name


RENAMED: dict[str, Layout] = {
    "EfficientNet of efficientnet_pytorch": of_timm("tf_efficientnet_b0", lukemelas),
    "EfficientNet-Lite": of_timm("tf_efficientnet_lite0", lukemelas),
    "CLIP of OpenAI": of_timm(
        "vit_base_patch32_clip_quickgelu_224",
        OPENAI,
        sized=True,
        heavy=True,
        classes=512,
        change=openai,
        beside={"transformer.resblocks.0.ln_1.weight": (8,), "positional_embedding": (77, 8), "logit_scale": ()},
    ),
    "ViT of timm in OpenCLIP": of_timm(
        "test_vit",
        in_order((r"^(?!head)", "visual.trunk."), (r"^head\.", "visual.head.proj.")),
        sized=True,
        beside={"transformer.resblocks.0.ln_1.weight": (8,), "text_projection": (8, 8), "logit_scale": ()},
    ),
    "ConvNeXt of its authors": of_timm("convnext_atto", FACEBOOK_CONVNEXT),
    "ConvNeXt V2 of its authors": of_timm("convnextv2_atto", FACEBOOK_CONVNEXT),
    "Swin of its authors": of_timm("swin_tiny_patch4_window7_224", MICROSOFT_SWIN, side=224, heavy=True),
    "MAE of its authors": of_timm(
        "test_vit", same, sized=True, beside={"mask_token": (1, 1, 8), "decoder_embed.weight": (8, 64)}
    ),
    "DINOv2 of its authors": of_timm(
        "vit_small_patch14_dinov2", same, side=56, sized=True, heavy=True, beside={"mask_token": (1, 384)}
    ),
    "ConvNeXt of mmpretrain": of_timm("convnext_atto", MM_CONVNEXT),
    "ViT of mmpretrain": of_timm("test_vit", MM_VIT, sized=True),
    "Swin of mmpretrain": of_timm("swin_tiny_patch4_window7_224", MM_SWIN, side=224, heavy=True, change=neighbours),
    "EfficientNet of mmpretrain": of_timm("tf_efficientnet_b0", mm_efficientnet),
    "DenseNet of mmpretrain": of_timm("densenet121", MM_DENSENET, heavy=True),
    "RegNet of mmpretrain": of_timm("regnetx_004", MM_REGNET),
    "ResNet of mmpretrain": of_timm("resnet18", in_order((r"^(?!fc)", "backbone."), (r"^fc", "head.fc")), heavy=True),
}
