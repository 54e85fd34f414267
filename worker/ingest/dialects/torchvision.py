"""torchvision's names of architectures that timm has too; both ways where all names can be written."""

from worker.ingest.dialects.rule import Names, Rule
from worker.ingest.dialects.translation import Piece, Pieces

_VIT: Names = [
    ("class_token", "cls_token"),
    ("encoder.pos_embedding", "pos_embed"),
    ("conv_proj.{p}", "patch_embed.proj.{p}"),
    ("encoder.layers.encoder_layer_{i}.ln_{n}.{p}", "blocks.{i}.norm{n}.{p}"),
    ("encoder.layers.encoder_layer_{i}.self_attention.in_proj_{p}", "blocks.{i}.attn.qkv.{p}"),
    ("encoder.layers.encoder_layer_{i}.self_attention.out_proj.{p}", "blocks.{i}.attn.proj.{p}"),
    ("encoder.layers.encoder_layer_{i}.mlp.0.{p}", "blocks.{i}.mlp.fc1.{p}"),
    ("encoder.layers.encoder_layer_{i}.mlp.3.{p}", "blocks.{i}.mlp.fc2.{p}"),
    ("encoder.ln.{p}", "norm.{p}"),
    ("heads.head.{p}", "head.{p}"),
]
_OLD_VIT: Names = [  # of torchvision before 0.13
    ("encoder.layers.encoder_layer_{i}.mlp.linear_{n}.{p}", "blocks.{i}.mlp.fc{n}.{p}"),
]
_SWIN_STEM: Names = [
    ("features.0.0.{p}", "patch_embed.proj.{p}"),
    ("features.0.2.{p}", "patch_embed.norm.{p}"),
]
_SWIN: Names = [
    ("features.{2i+1}.{j}.mlp.0.{p}", "layers.{i}.blocks.{j}.mlp.fc1.{p}"),
    ("features.{2i+1}.{j}.mlp.3.{p}", "layers.{i}.blocks.{j}.mlp.fc2.{p}"),
    ("features.{2i+1}.{j}.norm{n}.{p}", "layers.{i}.blocks.{j}.norm{n}.{p}"),
    ("features.{2i+1}.{j}.attn.{p}", "layers.{i}.blocks.{j}.attn.{p}"),
    ("features.{2i}.norm.{p}", "layers.{i}.downsample.norm.{p}"),
    ("features.{2i}.reduction.{p}", "layers.{i}.downsample.reduction.{p}"),
    ("norm.{p}", "norm.{p}"),
    ("head.{p}", "head.fc.{p}"),
]
_CONVNEXT: Names = [
    ("features.0.{k}.{p}", "stem.{k}.{p}"),
    ("features.{2i+1}.{j}.block.0.{p}", "stages.{i}.blocks.{j}.conv_dw.{p}"),
    ("features.{2i+1}.{j}.block.2.{p}", "stages.{i}.blocks.{j}.norm.{p}"),
    ("features.{2i+1}.{j}.block.3.{p}", "stages.{i}.blocks.{j}.mlp.fc1.{p}"),
    ("features.{2i+1}.{j}.block.5.{p}", "stages.{i}.blocks.{j}.mlp.fc2.{p}"),
    ("features.{2i+1}.{j}.layer_scale", "stages.{i}.blocks.{j}.gamma"),
    ("features.{2i}.{k}.{p}", "stages.{i}.downsample.{k}.{p}"),
    ("classifier.0.{p}", "head.norm.{p}"),
    ("classifier.2.{p}", "head.fc.{p}"),
]
_MNASNET: Names = [
    ("layers.0.{p}", "conv_stem.{p}"),
    ("layers.1.{p}", "bn1.{p}"),
    ("layers.3.{p}", "blocks.0.0.conv_dw.{p}"),
    ("layers.4.{p}", "blocks.0.0.bn1.{p}"),
    ("layers.6.{p}", "blocks.0.0.conv_pw.{p}"),
    ("layers.7.{p}", "blocks.0.0.bn2.{p}"),
    ("layers.{i+7}.{j}.layers.0.{p}", "blocks.{i}.{j}.conv_pw.{p}"),
    ("layers.{i+7}.{j}.layers.1.{p}", "blocks.{i}.{j}.bn1.{p}"),
    ("layers.{i+7}.{j}.layers.3.{p}", "blocks.{i}.{j}.conv_dw.{p}"),
    ("layers.{i+7}.{j}.layers.4.{p}", "blocks.{i}.{j}.bn2.{p}"),
    ("layers.{i+7}.{j}.layers.6.{p}", "blocks.{i}.{j}.conv_pwl.{p}"),
    ("layers.{i+7}.{j}.layers.7.{p}", "blocks.{i}.{j}.bn3.{p}"),
    ("layers.14.{p}", "conv_head.{p}"),
    ("layers.15.{p}", "bn2.{p}"),
    ("classifier.1.{p}", "classifier.{p}"),
]
AUXILIARY = "it is of an auxiliary classifier, which is there for the training alone"
_BLOCK, _UNIT = "trunk_output.block{i}.block{k}-{j}", "s{i}.b{j+1}"


def _biases(pieces: Pieces) -> Pieces:
    """torchvision's Swin V2 has a bias for keys, which it sets to zero in every pass; timm has none."""
    finished: Pieces = {}
    for name, piece in pieces.items():
        before, _, last = name.rpartition("attn.")
        if last == "qkv.bias":
            width = piece.tensor.shape[0] // 3
            finished[f"{before}attn.q_bias"] = Piece(piece.tensor[:width], piece.sources)
            finished[f"{before}attn.v_bias"] = Piece(piece.tensor[2 * width :], piece.sources)
        else:
            finished[name] = piece
    return finished


VIT = Rule("ViT of torchvision", "timm", root="encoder.layers.encoder_layer_0.ln_1.weight", body=[*_VIT, *_OLD_VIT])
SWIN = Rule(
    "Swin of torchvision",
    "timm",
    root="features.1.0.attn.relative_position_bias_table",
    body=[*_SWIN_STEM, *_SWIN],
)
CONVNEXT = Rule("ConvNeXt of torchvision", "timm", root="features.1.0.layer_scale", body=_CONVNEXT)
MNASNET = Rule("MNASNet of torchvision", "timm", root="layers.8.0.layers.0.weight", body=_MNASNET)

RULES = [
    VIT,
    SWIN,
    CONVNEXT,
    MNASNET,
    Rule(
        "Swin V2 of torchvision",
        "timm",
        root="features.1.0.attn.logit_scale",
        body=[*_SWIN_STEM, *_SWIN],
        finish=_biases,
    ),
    Rule(
        "RegNet of torchvision",
        "timm",
        root="trunk_output.block1.block1-0.f.a.0.weight",
        body=[
            ("stem.0.{p}", "stem.conv.{p}"),
            ("stem.1.{p}", "stem.bn.{p}"),
            (f"{_BLOCK}.proj.0.{{p}}", f"{_UNIT}.downsample.conv.{{p}}"),
            (f"{_BLOCK}.proj.1.{{p}}", f"{_UNIT}.downsample.bn.{{p}}"),
            *(
                row
                for letter, number in (("a", 1), ("b", 2), ("c", 3))
                for row in (
                    (f"{_BLOCK}.f.{letter}.0.{{p}}", f"{_UNIT}.conv{number}.conv.{{p}}"),
                    (f"{_BLOCK}.f.{letter}.1.{{p}}", f"{_UNIT}.conv{number}.bn.{{p}}"),
                )
            ),
            (f"{_BLOCK}.f.se.fc{{n}}.{{p}}", f"{_UNIT}.se.fc{{n}}.{{p}}"),
            ("fc.{p}", "head.fc.{p}"),
        ],
    ),
    Rule(
        "GoogLeNet with its auxiliary classifiers",
        "torchvision",
        root="aux1.conv.conv.weight",
        body=[],
        aside=[("(aux1|aux2).{p}", AUXILIARY)],
    ),
    Rule(
        "Inception v3 with its auxiliary classifier",
        "torchvision and timm",
        root="AuxLogits.conv0.conv.weight",
        body=[],
        aside=[("AuxLogits.{p}", AUXILIARY)],
    ),
    Rule(
        "DenseNet of torchvision before 0.3",
        "timm and torchvision",
        root="features.denseblock1.denselayer1.norm.1.weight",
        body=[
            (
                "features.denseblock{i}.denselayer{j}.norm.{n}.{p}",
                "features.denseblock{i}.denselayer{j}.norm{n}.{p}",
            ),
            (
                "features.denseblock{i}.denselayer{j}.conv.{n}.{p}",
                "features.denseblock{i}.denselayer{j}.conv{n}.{p}",
            ),
        ],
    ),
]


def _back(rule: Rule, layout: str, root: str, unless: str = "") -> Rule:
    names = [(to, name) for name, to in rule.body if (name, to) not in _OLD_VIT]
    return Rule(layout, "torchvision", root=root, body=names, unless=unless)


FROM_TIMM = [
    _back(VIT, "ViT of timm", "blocks.0.attn.qkv.weight", unless="norm_pre.weight"),
    _back(SWIN, "Swin of timm", "layers.0.blocks.0.attn.relative_position_bias_table"),
    _back(CONVNEXT, "ConvNeXt of timm", "stages.0.blocks.0.gamma"),
    _back(MNASNET, "MNASNet of timm", "blocks.1.0.conv_pwl.weight", unless="blocks.0.0.se.conv_reduce.weight"),
]
