"""CLIP as OpenAI and OpenCLIP store it: a vision transformer under `visual`, beside the text side."""

from worker.ingest.dialects.rule import Rule
from worker.ingest.dialects.transformers import ACTIVATION, TEXT, contrastive
from worker.ingest.dialects.translation import Piece, Pieces


def _projected(pieces: Pieces) -> Pieces:
    """Turn the projection [D,E], which is applied from the right, into the weight of a head [E,D]."""
    finished = {name: piece for name, piece in pieces.items() if name != "proj"}
    projection = pieces.get("proj")
    if projection and projection.tensor.ndim == 2:
        finished["head.weight"] = Piece(projection.tensor.T.contiguous(), projection.sources)
    elif projection:
        finished["proj"] = projection
    return contrastive(finished)


_TEXT = [
    ("(transformer|token_embedding|ln_final|text).{p}", TEXT),
    ("(positional_embedding|text_projection|logit_scale|logit_bias)", TEXT),
    ("(input_resolution|context_length|vocab_size)", TEXT),
]
RULES = [
    *(
        Rule(
            f"OpenCLIP with a {kind} of timm",
            "timm",
            root=f"visual.trunk.{first}",
            body=[
                ("visual.trunk.{p}", "{p}"),
                ("visual.head.proj.weight", f"{head}.weight"),
                ("visual.head.proj.bias", f"{head}.bias"),
            ],
            aside=_TEXT,
            finish=contrastive,
        )
        for kind, first, head in (
            ("ViT", "blocks.0.norm1.weight", "head"),
            ("ConvNeXt", "stages.0.blocks.0.conv_dw.weight", "head.fc"),
        )
    ),
    Rule(
        "CLIP of OpenAI and OpenCLIP",
        "timm",
        root="transformer.resblocks.0.ln_1.weight",
        base="visual",
        body=[
            ("class_embedding", "cls_token"),
            ("positional_embedding", "pos_embed"),
            ("conv1.{p}", "patch_embed.proj.{p}"),
            ("ln_pre.{p}", "norm_pre.{p}"),
            ("transformer.resblocks.{i}.ln_{n}.{p}", "blocks.{i}.norm{n}.{p}"),
            ("transformer.resblocks.{i}.attn.in_proj_{p}", "blocks.{i}.attn.qkv.{p}"),
            ("transformer.resblocks.{i}.attn.out_proj.{p}", "blocks.{i}.attn.proj.{p}"),
            ("transformer.resblocks.{i}.mlp.c_fc.{p}", "blocks.{i}.mlp.fc1.{p}"),
            ("transformer.resblocks.{i}.mlp.c_proj.{p}", "blocks.{i}.mlp.fc2.{p}"),
            ("ln_post.{p}", "norm.{p}"),
            ("proj", "proj"),
        ],
        aside=_TEXT,
        finish=_projected,
        remark=ACTIVATION,
    ),
]
