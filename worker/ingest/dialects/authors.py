"""Checkpoints of papers' own code whose networks have timm's names, beside what the training alone needs."""

from worker.ingest.dialects.rule import Rule
from worker.ingest.dialects.transformers import DECODER, PRETRAINING, with_registers

RULES = [
    Rule(
        "MAE's authors",
        "timm",
        root="decoder_embed.weight",
        body=[
            ("cls_token", "cls_token"),
            ("pos_embed", "pos_embed"),
            ("patch_embed.{p}", "patch_embed.{p}"),
            ("blocks.{p}", "blocks.{p}"),
            ("norm.{p}", "norm.{p}"),
        ],
        aside=[("decoder_{p}", DECODER), ("mask_token", PRETRAINING)],
    ),
    Rule(
        "DINOv2's authors",
        "timm",
        root="blocks.0.ls1.gamma",
        body=[
            ("cls_token", "cls_token"),
            ("register_tokens", "reg_token"),
            ("pos_embed", "pos_embed"),
            ("patch_embed.{p}", "patch_embed.{p}"),
            ("blocks.{i}.mlp.w12.{p}", "blocks.{i}.mlp.fc1.{p}"),
            ("blocks.{i}.mlp.w3.{p}", "blocks.{i}.mlp.fc2.{p}"),
            ("blocks.{p}", "blocks.{p}"),
            ("norm.{p}", "norm.{p}"),
        ],
        aside=[("mask_token", PRETRAINING)],
        finish=with_registers,
    ),
]
