"""mmpretrain (before it, mmcls): `backbone.…` with names of its own, and `head.…`."""

import re

from worker.ingest.dialects import efficientnet
from worker.ingest.dialects.rule import Names, Rule
from worker.ingest.dialects.translation import Piece, Pieces
from worker.networks.conventions import Conventions


def _merged_patches(pieces: Pieces) -> Pieces:
    """Reorder merged patches: mmpretrain puts four neighbours together channel by channel, timm one after the other."""
    finished = dict(pieces)
    for name, piece in pieces.items():
        if ".downsample." in name and piece.tensor.ndim and piece.tensor.shape[-1] % 4 == 0:
            by_channel = piece.tensor.reshape(*piece.tensor.shape[:-1], -1, 2, 2)  # rows, then columns
            finished[name] = Piece(by_channel.movedim((-1, -2), (-3, -2)).flatten(-3).contiguous(), piece.sources)
    return finished


_BLOCK = re.compile(r"grouped\.(\d+)\.(\d+)\.(.+)")


def _numbered(pieces: Pieces) -> Pieces:
    """mmpretrain groups the blocks of EfficientNet by their strides; numbered through they are as others have them."""
    blocks = sorted({(int(match[1]), int(match[2])) for name in pieces if (match := _BLOCK.fullmatch(name))})
    number = {block: count for count, block in enumerate(blocks)}
    finished: Pieces = {}
    for name, piece in pieces.items():
        match = _BLOCK.fullmatch(name)
        finished[f"flat.{number[int(match[1]), int(match[2])]}.{match[3]}" if match else name] = piece
    return efficientnet.staged(finished)


def _with_norms(pairs: dict[str, str]) -> Names:
    """A block's convolutions, each with its norm."""
    return [
        row
        for name, part in pairs.items()
        for row in (
            (f"layers.{{i}}.{{j}}.{name}.conv.{{p}}", f"grouped.{{i}}.{{j}}.{part}.{{p}}"),
            (f"layers.{{i}}.{{j}}.{name}.bn.{{p}}", f"grouped.{{i}}.{{j}}.{part}_bn.{{p}}"),
        )
    ]


RULES = [
    Rule(
        "ViT of mmpretrain",
        "timm",
        root="layers.0.ffn.layers.0.0.weight",
        base="backbone",
        body=[
            ("cls_token", "cls_token"),
            ("pos_embed", "pos_embed"),
            ("patch_embed.projection.{p}", "patch_embed.proj.{p}"),
            ("layers.{i}.ln{n}.{p}", "blocks.{i}.norm{n}.{p}"),
            ("layers.{i}.ffn.layers.0.0.{p}", "blocks.{i}.mlp.fc1.{p}"),
            ("layers.{i}.ffn.layers.1.{p}", "blocks.{i}.mlp.fc2.{p}"),
            ("layers.{i}.attn.{p}", "blocks.{i}.attn.{p}"),
            ("ln1.{p}", "norm.{p}"),
            ("pre_norm.{p}", "norm_pre.{p}"),
        ],
        head=[("head.layers.head.{p}", "head.{p}")],
    ),
    Rule(
        "Swin of mmpretrain",
        "timm",
        root="stages.0.blocks.0.attn.w_msa.qkv.weight",
        base="backbone",
        body=[
            ("patch_embed.projection.{p}", "patch_embed.proj.{p}"),
            ("patch_embed.norm.{p}", "patch_embed.norm.{p}"),
            ("stages.{i}.blocks.{j}.attn.w_msa.{p}", "layers.{i}.blocks.{j}.attn.{p}"),
            ("stages.{i}.blocks.{j}.norm{n}.{p}", "layers.{i}.blocks.{j}.norm{n}.{p}"),
            ("stages.{i}.blocks.{j}.ffn.layers.0.0.{p}", "layers.{i}.blocks.{j}.mlp.fc1.{p}"),
            ("stages.{i}.blocks.{j}.ffn.layers.1.{p}", "layers.{i}.blocks.{j}.mlp.fc2.{p}"),
            ("stages.{i}.downsample.{p}", "layers.{i+1}.downsample.{p}"),
            ("norm3.{p}", "norm.{p}"),
        ],
        head=[("head.fc.{p}", "head.fc.{p}")],
        finish=_merged_patches,
    ),
    Rule(
        "ConvNeXt of mmpretrain",
        "timm",
        root="stages.0.0.depthwise_conv.weight",
        base="backbone",
        body=[
            ("downsample_layers.0.{k}.{p}", "stem.{k}.{p}"),
            ("downsample_layers.{i}.{k}.{p}", "stages.{i}.downsample.{k}.{p}"),
            ("stages.{i}.{j}.depthwise_conv.{p}", "stages.{i}.blocks.{j}.conv_dw.{p}"),
            ("stages.{i}.{j}.pointwise_conv{n}.{p}", "stages.{i}.blocks.{j}.mlp.fc{n}.{p}"),
            ("stages.{i}.{j}.grn.gamma", "stages.{i}.blocks.{j}.mlp.grn.weight"),
            ("stages.{i}.{j}.grn.beta", "stages.{i}.blocks.{j}.mlp.grn.bias"),
            ("stages.{i}.{j}.gamma", "stages.{i}.blocks.{j}.gamma"),
            ("stages.{i}.{j}.norm.{p}", "stages.{i}.blocks.{j}.norm.{p}"),
            ("norm3.{p}", "head.norm.{p}"),
        ],
        head=[("head.fc.{p}", "head.fc.{p}")],
    ),
    Rule(
        "MobileNetV2 of mmpretrain",
        "timm",
        root="layer1.0.conv.0.conv.weight",
        base="backbone",
        body=[
            ("conv1.conv.{p}", "conv_stem.{p}"),
            ("conv1.bn.{p}", "bn1.{p}"),
            ("layer1.{j}.conv.0.conv.{p}", "blocks.0.{j}.conv_dw.{p}"),
            ("layer1.{j}.conv.1.conv.{p}", "blocks.0.{j}.conv_pw.{p}"),
            ("layer{i+1}.{j}.conv.0.conv.{p}", "blocks.{i}.{j}.conv_pw.{p}"),
            ("layer{i+1}.{j}.conv.1.conv.{p}", "blocks.{i}.{j}.conv_dw.{p}"),
            ("layer{i+1}.{j}.conv.2.conv.{p}", "blocks.{i}.{j}.conv_pwl.{p}"),
            ("layer{i+1}.{j}.conv.{k}.bn.{p}", "blocks.{i}.{j}.bn{k+1}.{p}"),
            ("conv2.conv.{p}", "conv_head.{p}"),
            ("conv2.bn.{p}", "bn2.{p}"),
        ],
        head=[("head.fc.{p}", "classifier.{p}")],
        conventions=lambda _: Conventions(same_padding=False, epsilon=1e-5),
    ),
    Rule(
        "EfficientNet of mmpretrain",
        "timm",
        root="layers.1.0.depthwise_conv.conv.weight",
        base="backbone",
        body=[
            ("layers.0.conv.{p}", "conv_stem.{p}"),
            ("layers.0.bn.{p}", "bn1.{p}"),
            *_with_norms({"expand_conv": "expand", "depthwise_conv": "depthwise", "linear_conv": "project"}),
            ("layers.{i}.{j}.se.conv1.conv.{p}", "grouped.{i}.{j}.reduce.{p}"),
            ("layers.{i}.{j}.se.conv2.conv.{p}", "grouped.{i}.{j}.restore.{p}"),
            ("layers.6.conv.{p}", "conv_head.{p}"),
            ("layers.6.bn.{p}", "bn2.{p}"),
        ],
        head=[("head.fc.{p}", "classifier.{p}")],
        finish=_numbered,
        conventions=lambda _: efficientnet.TENSORFLOW,
    ),
    Rule(
        "DenseNet of mmpretrain",
        "timm and torchvision",
        root="stages.0.block.0.norm1.weight",
        base="backbone",
        body=[
            ("stem.0.{p}", "features.conv0.{p}"),
            ("stem.1.{p}", "features.norm0.{p}"),
            ("stages.{i}.block.{j}.norm{n}.{p}", "features.denseblock{i+1}.denselayer{j+1}.norm{n}.{p}"),
            ("stages.{i}.block.{j}.conv{n}.{p}", "features.denseblock{i+1}.denselayer{j+1}.conv{n}.{p}"),
            ("transitions.{i}.norm.{p}", "features.transition{i+1}.norm.{p}"),
            ("transitions.{i}.conv.{p}", "features.transition{i+1}.conv.{p}"),
            ("transitions.3.0.{p}", "features.norm5.{p}"),
        ],
        head=[("head.fc.{p}", "classifier.{p}")],
    ),
    Rule(  # whose names are those of its ResNet
        "RegNet of mmpretrain",
        "timm",
        root="backbone.layer1.0.conv3.weight",
        body=[
            ("backbone.conv1.{p}", "stem.conv.{p}"),
            ("backbone.bn1.{p}", "stem.bn.{p}"),
            ("backbone.layer{i}.{j}.conv{n}.{p}", "s{i}.b{j+1}.conv{n}.conv.{p}"),
            ("backbone.layer{i}.{j}.bn{n}.{p}", "s{i}.b{j+1}.conv{n}.bn.{p}"),
            ("backbone.layer{i}.{j}.downsample.0.{p}", "s{i}.b{j+1}.downsample.conv.{p}"),
            ("backbone.layer{i}.{j}.downsample.1.{p}", "s{i}.b{j+1}.downsample.bn.{p}"),
            ("head.fc.{p}", "head.fc.{p}"),
        ],
    ),
]
