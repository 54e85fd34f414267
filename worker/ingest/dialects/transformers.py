"""Hugging Face transformers: its names of image classifiers, of versions 4 (which files have) and 5 (in memory)."""

from worker.ingest.dialects.rule import Names, Rule
from worker.ingest.dialects.translation import Piece, Pieces

PRETRAINING = "it is of the pre-training alone"
DECODER = "it is of the decoder that a masked autoencoder is trained with"
POOLER = "it is a layer above the class token that timm's network has not"
TEXT = "it is of the model's text side"
EPSILON = "The layer norms' epsilon, 1e-12 in transformers unless its configuration says otherwise, is timm's 1e-6 now."
ACTIVATION = (
    "No name tells whether it computes GELU or, as OpenAI's do, QuickGELU: timm has a network of its own for these "
    "(`…_clip_quickgelu_…`), and either takes the weights."
)

_LAYER = "(encoder.layer|layers).{i}"
_EMBEDDED: Names = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.distillation_token", "dist_token"),
    ("embeddings.register_tokens", "reg_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.{p}", "patch_embed.proj.{p}"),
    ("embeddings.norm.{p}", "patch_embed.norm.{p}"),
]
_ABOVE: Names = [("layernorm.{p}", "norm.{p}")]
_MASK = ("embeddings.mask_token", PRETRAINING)


def _attention(layer: str, block: str) -> Names:
    return [
        *(
            (f"{layer}.(attention.attention.{long}|attention.self.{long}|attention.{long[0]}_proj).{{p}}", to)
            for long, to in (
                ("query", f"{block}.attn.qkv.{{p}}#0"),
                ("key", f"{block}.attn.qkv.{{p}}#1"),
                ("value", f"{block}.attn.qkv.{{p}}#2"),
            )
        ),
        (f"{layer}.(attention.output.dense|attention.o_proj).{{p}}", f"{block}.attn.proj.{{p}}"),
    ]


def _perceptron(layer: str, block: str) -> Names:
    return [
        (f"{layer}.(intermediate.dense|mlp.fc1).{{p}}", f"{block}.mlp.fc1.{{p}}"),
        (f"{layer}.(output.dense|mlp.fc2).{{p}}", f"{block}.mlp.fc2.{{p}}"),
    ]


def _norms(layer: str, block: str) -> Names:
    return [
        (f"{layer}.(layernorm_before|norm1).{{p}}", f"{block}.norm1.{{p}}"),
        (f"{layer}.(layernorm_after|norm2).{{p}}", f"{block}.norm2.{{p}}"),
    ]


_BLOCKS = [
    *_norms(_LAYER, "blocks.{i}"),
    *_attention(_LAYER, "blocks.{i}"),
    *_perceptron(_LAYER, "blocks.{i}"),
]
_STAGED = "encoder.layers.{i}.blocks.{j}"
_SWIN: Names = [
    *_norms(_STAGED, "layers.{i}.blocks.{j}"),
    *_attention(_STAGED, "layers.{i}.blocks.{j}"),
    *_perceptron(_STAGED, "layers.{i}.blocks.{j}"),
    ("encoder.layers.{i}.downsample.{p}", "layers.{i+1}.downsample.{p}"),
]
_POSITION_BIAS = "(attention.|)(attention.|self.|)(relative_position_bias.|)relative_position_bias_table"


def with_registers(pieces: Pieces) -> Pieces:
    """Add its position to the class token where there are registers: timm keeps those of the patches alone then."""
    if not pieces.keys() >= {"reg_token", "cls_token", "pos_embed"}:
        return pieces
    token, positions = pieces["cls_token"], pieces["pos_embed"]
    if token.tensor.ndim != 3 or positions.tensor.ndim != 3 or positions.tensor.shape[2] != token.tensor.shape[2]:
        return pieces
    return pieces | {
        "cls_token": Piece(token.tensor + positions.tensor[:, :1], token.sources + positions.sources),
        "pos_embed": Piece(positions.tensor[:, 1:], positions.sources),
    }


def contrastive(pieces: Pieces) -> Pieces:
    """CLIP's positions are [N,D] and its projection has no bias: timm's [1,N,D], and a head whose bias is zero."""
    finished = dict(pieces)
    positions = pieces.get("pos_embed")
    if positions and positions.tensor.ndim == 2:
        finished["pos_embed"] = Piece(positions.tensor.unsqueeze(0), positions.sources)
    for path in ("head", "head.fc"):
        head = pieces.get(f"{path}.weight")
        if head and head.tensor.ndim == 2 and f"{path}.bias" not in pieces:
            finished[f"{path}.bias"] = Piece(head.tensor.new_zeros(head.tensor.shape[0]), ())
    return finished


RULES = [
    Rule(
        "ViT of transformers",
        "timm",
        root="(encoder.layer|layers).0.layernorm_before.weight",
        unless="(encoder.layer|layers).0.lambda_1",
        base="(vit|deit)",
        body=[*_EMBEDDED, *_BLOCKS, *_ABOVE],
        head=[("(cls_classifier|classifier).{p}", "head.{p}"), ("distillation_classifier.{p}", "head_dist.{p}")],
        aside=[_MASK, ("pooler.dense.{p}", POOLER), ("decoder.{p}", DECODER)],
        remark=EPSILON,
    ),
    Rule(
        "BEiT of transformers",
        "timm",
        root="(encoder.layer|layers).0.lambda_1",
        base="(beit|data2vec_vision)",
        body=[
            (f"{_LAYER}.(attention.attention.query|attention.q_proj).bias", "blocks.{i}.attn.q_bias"),
            (f"{_LAYER}.(attention.attention.value|attention.v_proj).bias", "blocks.{i}.attn.v_bias"),
            (f"{_LAYER}.{_POSITION_BIAS}", "blocks.{i}.attn.relative_position_bias_table"),
            (f"{_LAYER}.lambda_{{n}}", "blocks.{i}.gamma_{n}"),
            ("pooler.layernorm.{p}", "fc_norm.{p}"),
            *_EMBEDDED,
            *_BLOCKS,
            *_ABOVE,
        ],
        head=[("classifier.{p}", "head.{p}")],
        aside=[_MASK],
        remark=EPSILON,
    ),
    Rule(
        "DINOv2 of transformers",
        "timm",
        root="encoder.layer.0.layer_scale1.lambda1",
        base="(dinov2|dinov2with_registers)",
        body=[
            *_EMBEDDED,
            ("encoder.layer.{i}.layer_scale{n}.lambda1", "blocks.{i}.ls{n}.gamma"),
            ("encoder.layer.{i}.mlp.weights_in.{p}", "blocks.{i}.mlp.fc1.{p}"),
            ("encoder.layer.{i}.mlp.gate_proj.{p}", "blocks.{i}.mlp.fc1.{p}#0"),
            ("encoder.layer.{i}.mlp.up_proj.{p}", "blocks.{i}.mlp.fc1.{p}#1"),
            ("encoder.layer.{i}.mlp.(weights_out|down_proj).{p}", "blocks.{i}.mlp.fc2.{p}"),
            *_BLOCKS,
            *_ABOVE,
        ],
        aside=[_MASK],
        finish=with_registers,
    ),
    Rule(
        "Swin of transformers",
        "timm",
        root="encoder.layers.0.blocks.0.layernorm_before.weight",
        unless="encoder.layers.0.blocks.0.attention.self.logit_scale",
        base="swin",
        body=[
            (f"{_STAGED}.{_POSITION_BIAS}", "layers.{i}.blocks.{j}.attn.relative_position_bias_table"),
            *_EMBEDDED,
            *_SWIN,
            *_ABOVE,
        ],
        head=[("classifier.{p}", "head.fc.{p}")],
        aside=[_MASK],
    ),
    Rule(
        "Swin V2 of transformers",
        "timm",
        root="encoder.layers.0.blocks.0.attention.self.logit_scale",
        base="swinv2",
        body=[
            (f"{_STAGED}.attention.self.query.bias", "layers.{i}.blocks.{j}.attn.q_bias"),
            (f"{_STAGED}.attention.self.value.bias", "layers.{i}.blocks.{j}.attn.v_bias"),
            (f"{_STAGED}.attention.self.logit_scale", "layers.{i}.blocks.{j}.attn.logit_scale"),
            (
                f"{_STAGED}.attention.self.continuous_position_bias_mlp.{{p}}",
                "layers.{i}.blocks.{j}.attn.cpb_mlp.{p}",
            ),
            *_EMBEDDED,
            *_SWIN,
            *_ABOVE,
        ],
        head=[("classifier.{p}", "head.fc.{p}")],
        aside=[_MASK],
    ),
    Rule(
        "ConvNeXt of transformers",
        "timm",
        root="encoder.stages.0.layers.0.dwconv.weight",
        base="(convnext|convnextv2)",
        body=[
            ("embeddings.patch_embeddings.{p}", "stem.0.{p}"),
            ("embeddings.layernorm.{p}", "stem.1.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer_scale_parameter", "stages.{i}.blocks.{j}.gamma"),
            ("encoder.stages.{i}.layers.{j}.dwconv.{p}", "stages.{i}.blocks.{j}.conv_dw.{p}"),
            ("encoder.stages.{i}.layers.{j}.layernorm.{p}", "stages.{i}.blocks.{j}.norm.{p}"),
            ("encoder.stages.{i}.layers.{j}.pwconv{n}.{p}", "stages.{i}.blocks.{j}.mlp.fc{n}.{p}"),
            ("encoder.stages.{i}.layers.{j}.grn.{p}", "stages.{i}.blocks.{j}.mlp.grn.{p}"),
            ("encoder.stages.{i}.downsampling_layer.{n}.{p}", "stages.{i}.downsample.{n}.{p}"),
            ("layernorm.{p}", "head.norm.{p}"),
        ],
        head=[("classifier.{p}", "head.fc.{p}")],
    ),
    Rule(
        "ResNet of transformers",
        "timm and torchvision",
        root="embedder.embedder.convolution.weight",
        base="resnet",
        body=[
            ("embedder.embedder.convolution.{p}", "conv1.{p}"),
            ("embedder.embedder.normalization.{p}", "bn1.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer.{k}.convolution.{p}", "layer{i+1}.{j}.conv{k+1}.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer.{k}.normalization.{p}", "layer{i+1}.{j}.bn{k+1}.{p}"),
            ("encoder.stages.{i}.layers.{j}.shortcut.convolution.{p}", "layer{i+1}.{j}.downsample.0.{p}"),
            ("encoder.stages.{i}.layers.{j}.shortcut.normalization.{p}", "layer{i+1}.{j}.downsample.1.{p}"),
        ],
        head=[("classifier.1.{p}", "fc.{p}")],
    ),
    Rule(
        "RegNet of transformers",
        "timm",
        root="embedder.embedder.convolution.weight",
        base="regnet",
        body=[
            ("embedder.embedder.convolution.{p}", "stem.conv.{p}"),
            ("embedder.embedder.normalization.{p}", "stem.bn.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer.2.attention.0.{p}", "s{i+1}.b{j+1}.se.fc1.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer.2.attention.2.{p}", "s{i+1}.b{j+1}.se.fc2.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer.3.convolution.{p}", "s{i+1}.b{j+1}.conv3.conv.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer.3.normalization.{p}", "s{i+1}.b{j+1}.conv3.bn.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer.{k}.convolution.{p}", "s{i+1}.b{j+1}.conv{k+1}.conv.{p}"),
            ("encoder.stages.{i}.layers.{j}.layer.{k}.normalization.{p}", "s{i+1}.b{j+1}.conv{k+1}.bn.{p}"),
            ("encoder.stages.{i}.layers.{j}.shortcut.convolution.{p}", "s{i+1}.b{j+1}.downsample.conv.{p}"),
            ("encoder.stages.{i}.layers.{j}.shortcut.normalization.{p}", "s{i+1}.b{j+1}.downsample.bn.{p}"),
        ],
        head=[("classifier.1.{p}", "head.fc.{p}")],
    ),
    Rule(
        "CLIP of transformers",
        "timm",
        root="pre_layrnorm.weight",
        base="vision_model",
        body=[
            ("embeddings.class_embedding", "cls_token"),
            ("embeddings.position_embedding.weight", "pos_embed"),
            ("embeddings.patch_embedding.{p}", "patch_embed.proj.{p}"),
            ("pre_layrnorm.{p}", "norm_pre.{p}"),
            ("encoder.layers.{i}.self_attn.q_proj.{p}", "blocks.{i}.attn.qkv.{p}#0"),
            ("encoder.layers.{i}.self_attn.k_proj.{p}", "blocks.{i}.attn.qkv.{p}#1"),
            ("encoder.layers.{i}.self_attn.v_proj.{p}", "blocks.{i}.attn.qkv.{p}#2"),
            ("encoder.layers.{i}.self_attn.out_proj.{p}", "blocks.{i}.attn.proj.{p}"),
            ("encoder.layers.{i}.layer_norm{n}.{p}", "blocks.{i}.norm{n}.{p}"),
            ("encoder.layers.{i}.mlp.fc{n}.{p}", "blocks.{i}.mlp.fc{n}.{p}"),
            ("post_layernorm.{p}", "norm.{p}"),
        ],
        head=[("visual_projection.weight", "head.weight"), ("classifier.{p}", "head.{p}")],
        aside=[("(text_model|text_projection).{p}", TEXT), ("logit_scale", TEXT), ("embeddings.position_ids", TEXT)],
        finish=contrastive,
        remark=ACTIVATION,
    ),
]
