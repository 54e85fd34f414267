"""mmpretrain (before it, mmcls): `backbone.…` with names of its own, and `head.…`."""

from worker.ingest.dialects.rule import Rule
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
]
