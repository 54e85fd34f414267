"""EfficientNet, MobileNetV2 and V3 of libraries that number their blocks through; timm has stages of blocks."""

import re
from itertools import pairwise

from worker.ingest.dialects.rule import Names, Rule
from worker.ingest.dialects.translation import Piece, Pieces
from worker.networks.conventions import Conventions

TENSORFLOW = Conventions(same_padding=True, epsilon=1e-3)
MOBILENET_V2 = (1, 2, 3, 4, 3, 3, 1)  # blocks in its stages, whatever its width
# What a block is made of, and where timm has that in a block that expands its channels and in one that does not.
_EXPANDING = {
    "expand": "conv_pw",
    "expand_bn": "bn1",
    "depthwise": "conv_dw",
    "depthwise_bn": "bn2",
    "project": "conv_pwl",
    "project_bn": "bn3",
}
_PLAIN = {"depthwise": "conv_dw", "depthwise_bn": "bn1", "project": "conv_pw", "project_bn": "bn2"}
_BOTH = {"reduce": "se.conv_reduce", "restore": "se.conv_expand"}
_FLAT = re.compile(r"flat\.(\d+)\.(\w+)\.(.+)")


def staged(pieces: Pieces) -> Pieces:
    """`flat.<block>.<part>.…` as timm has it: `blocks.<stage>.<block>.…`.  A stage begins where the width changes."""
    blocks: dict[int, dict[str, str]] = {}
    for name in pieces:
        match = _FLAT.fullmatch(name)
        if match:
            blocks.setdefault(int(match[1]), {})[match[2]] = match[2]
    stages = _stages(pieces, sorted(blocks))
    finished: Pieces = {}
    for name, piece in pieces.items():
        match = _FLAT.fullmatch(name)
        number = int(match[1]) if match else None
        if match is None or number not in stages:
            finished[name] = piece
            continue
        places = (_EXPANDING if "expand" in blocks[number] else _PLAIN) | _BOTH
        stage, block = stages[number]
        finished[f"blocks.{stage}.{block}.{places.get(match[2], match[2])}.{match[3]}"] = piece
    return finished


def _stages(pieces: Pieces, numbers: list[int]) -> dict[int, tuple[int, int]]:
    """Stage and place of each block, by its number; none where a block lacks the convolutions that tell its width."""
    if len(numbers) == sum(MOBILENET_V2) and not any(".reduce." in name for name in pieces):
        counts = MOBILENET_V2
        places = [(stage, block) for stage, count in enumerate(counts) for block in range(count)]
        return dict(zip(numbers, places, strict=True))
    widths = [_widths(pieces, number) for number in numbers]
    if not widths or None in widths:
        return {}
    known = [width for width in widths if width is not None]
    stages, place = {numbers[0]: (0, 0)}, (0, 0)
    for number, (_, (before, after)) in zip(numbers[1:], pairwise(known), strict=True):
        place = (place[0], place[1] + 1) if before == after else (place[0] + 1, 0)
        stages[number] = place
    return stages


def _widths(pieces: Pieces, number: int) -> tuple[int, int] | None:
    """Channels that go into a block and come out of it."""
    project = pieces.get(f"flat.{number}.project.weight")
    first = pieces.get(f"flat.{number}.expand.weight") or pieces.get(f"flat.{number}.depthwise.weight")
    if project is None or first is None or project.tensor.ndim != 4 or first.tensor.ndim != 4:
        return None
    expands = f"flat.{number}.expand.weight" in pieces
    return first.tensor.shape[1 if expands else 0], project.tensor.shape[0]


def _parts_of_mobilenet_v3(pieces: Pieces) -> Pieces:
    """torchvision numbers the layers of a block: the last projects, the one before is depthwise, a third expands."""
    layers: dict[str, list[int]] = {}
    for name in pieces:
        match = _V3.fullmatch(name)
        if match and match[3] == "0.weight":
            layers.setdefault(match[1], []).append(int(match[2]))
    finished: Pieces = {}
    for name, piece in pieces.items():
        match = _V3.fullmatch(name)
        if match is None:
            finished[name] = piece
            continue
        parts = dict(zip(sorted(layers[match[1]])[::-1], ("project", "depthwise", "expand"), strict=False))
        part, kind = parts.get(int(match[2])), match[3].partition(".")
        suffix = {"0": "", "1": "_bn"}.get(kind[0])
        if part is None or suffix is None:
            squeeze = {"fc1": "reduce", "fc2": "restore"}.get(kind[0], kind[0])
            finished[f"flat.{match[1]}.{squeeze}.{kind[2]}"] = piece
        else:
            finished[f"flat.{match[1]}.{part}{suffix}.{kind[2]}"] = piece
    return _last_convolution(staged(finished))


_V3 = re.compile(r"v3\.(\d+)\.(\d+)\.(.+)")
_LAST = re.compile(r"features\.(\d+)\.([01])\.(.+)")


def _last_convolution(pieces: Pieces) -> Pieces:
    """The convolution behind the blocks is a stage in timm."""
    stage = 1 + max((int(name.split(".")[1]) for name in pieces if name.startswith("blocks.")), default=-1)
    finished: Pieces = {}
    for name, piece in pieces.items():
        match = _LAST.fullmatch(name)
        place = f"blocks.{stage}.0.{('conv', 'bn1')[int(match[2])]}.{match[3]}" if match else name
        finished[place] = Piece(piece.tensor, piece.sources)
    return finished


def _parts(pairs: dict[str, str], before: str = "", to: str = "flat.{n}.") -> Names:
    return [(f"{before}{name}.{{p}}", f"{to}{part}.{{p}}") for name, part in pairs.items()]


def _epsilon(pieces: Pieces) -> Conventions:
    """torchvision's B5, B6 and B7, whose first stage has three or more blocks, have TensorFlow's epsilon."""
    return Conventions(same_padding=False, epsilon=1e-3 if "blocks.0.2.conv_dw.weight" in pieces else 1e-5)


_STAGE = "features.{i+1}.{j}.block"
_EXPANDED: Names = [
    (f"{_STAGE}.0.0.{{p}}", "blocks.{i}.{j}.conv_pw.{p}"),
    (f"{_STAGE}.0.1.{{p}}", "blocks.{i}.{j}.bn1.{p}"),
    (f"{_STAGE}.1.0.{{p}}", "blocks.{i}.{j}.conv_dw.{p}"),
    (f"{_STAGE}.1.1.{{p}}", "blocks.{i}.{j}.bn2.{p}"),
    (f"{_STAGE}.2.fc1.{{p}}", "blocks.{i}.{j}.se.conv_reduce.{p}"),
    (f"{_STAGE}.2.fc2.{{p}}", "blocks.{i}.{j}.se.conv_expand.{p}"),
    (f"{_STAGE}.3.0.{{p}}", "blocks.{i}.{j}.conv_pwl.{p}"),
    (f"{_STAGE}.3.1.{{p}}", "blocks.{i}.{j}.bn3.{p}"),
]
RULES = [
    Rule(
        "EfficientNet of efficientnet_pytorch",
        "timm",
        root="_blocks.0._depthwise_conv.weight",
        body=[
            ("_conv_stem.{p}", "conv_stem.{p}"),
            ("_bn0.{p}", "bn1.{p}"),
            *_parts(
                {
                    "_expand_conv": "expand",
                    "_bn0": "expand_bn",
                    "_depthwise_conv": "depthwise",
                    "_bn1": "depthwise_bn",
                    "_se_reduce": "reduce",
                    "_se_expand": "restore",
                    "_project_conv": "project",
                    "_bn2": "project_bn",
                },
                "_blocks.{n}.",
            ),
            ("_conv_head.{p}", "conv_head.{p}"),
            ("_bn1.{p}", "bn2.{p}"),
            ("_fc.{p}", "classifier.{p}"),
        ],
        finish=staged,
        conventions=lambda _: TENSORFLOW,
    ),
    Rule(
        "EfficientNet of transformers",
        "timm",
        root="encoder.blocks.0.depthwise_conv.depthwise_conv.weight",
        base="efficientnet",
        body=[
            ("embeddings.convolution.{p}", "conv_stem.{p}"),
            ("embeddings.batchnorm.{p}", "bn1.{p}"),
            *_parts(
                {
                    "expansion.expand_conv": "expand",
                    "expansion.expand_bn": "expand_bn",
                    "depthwise_conv.depthwise_conv": "depthwise",
                    "depthwise_conv.depthwise_norm": "depthwise_bn",
                    "squeeze_excite.reduce": "reduce",
                    "squeeze_excite.expand": "restore",
                    "projection.project_conv": "project",
                    "projection.project_bn": "project_bn",
                },
                "encoder.blocks.{n}.",
            ),
            ("encoder.top_conv.{p}", "conv_head.{p}"),
            ("encoder.top_bn.{p}", "bn2.{p}"),
        ],
        head=[("classifier.{p}", "classifier.{p}")],
        finish=staged,
        conventions=lambda _: TENSORFLOW,
    ),
    Rule(
        "MobileNetV2 of transformers",
        "timm",
        root="conv_stem.first_conv.convolution.weight",
        base="mobilenet_v2",
        body=[
            ("conv_stem.first_conv.convolution.{p}", "conv_stem.{p}"),
            ("conv_stem.first_conv.normalization.{p}", "bn1.{p}"),
            *_parts(
                {
                    "conv_3x3.convolution": "depthwise",
                    "conv_3x3.normalization": "depthwise_bn",
                    "reduce_1x1.convolution": "project",
                    "reduce_1x1.normalization": "project_bn",
                },
                "conv_stem.",
                "flat.0.",
            ),
            *_parts(
                {
                    "expand_1x1.convolution": "expand",
                    "expand_1x1.normalization": "expand_bn",
                    "conv_3x3.convolution": "depthwise",
                    "conv_3x3.normalization": "depthwise_bn",
                    "reduce_1x1.convolution": "project",
                    "reduce_1x1.normalization": "project_bn",
                },
                "layer.{n}.",
                "flat.{n+1}.",
            ),
            ("conv_1x1.convolution.{p}", "conv_head.{p}"),
            ("conv_1x1.normalization.{p}", "bn2.{p}"),
        ],
        head=[("classifier.{p}", "classifier.{p}")],
        finish=staged,
        conventions=lambda _: TENSORFLOW,
    ),
    Rule(
        "MobileNetV2 of torchvision",
        "timm",
        root="features.2.conv.1.1.running_mean",
        body=[
            ("features.0.0.{p}", "conv_stem.{p}"),
            ("features.0.1.{p}", "bn1.{p}"),
            *_parts(
                {"0.0": "depthwise", "0.1": "depthwise_bn", "1": "project", "2": "project_bn"},
                "features.1.conv.",
                "flat.1.",
            ),
            *_parts(
                {
                    "0.0": "expand",
                    "0.1": "expand_bn",
                    "1.0": "depthwise",
                    "1.1": "depthwise_bn",
                    "2": "project",
                    "3": "project_bn",
                },
                "features.{n}.conv.",
            ),
            ("features.18.0.{p}", "conv_head.{p}"),
            ("features.18.1.{p}", "bn2.{p}"),
            ("classifier.1.{p}", "classifier.{p}"),
        ],
        finish=staged,
        conventions=lambda _: Conventions(same_padding=False, epsilon=1e-5),
    ),
    Rule(
        "MobileNetV3 of torchvision",
        "timm",
        root="features.4.block.2.fc1.weight",
        body=[
            ("features.0.0.{p}", "conv_stem.{p}"),
            ("features.0.1.{p}", "bn1.{p}"),
            ("features.{n}.block.{k}.{p}", "v3.{n}.{k}.{p}"),
            ("classifier.0.{p}", "conv_head.{p}"),
            ("classifier.3.{p}", "classifier.{p}"),
        ],
        finish=_parts_of_mobilenet_v3,
        conventions=lambda _: Conventions(same_padding=False, epsilon=1e-3),
    ),
    Rule(
        "EfficientNet of torchvision",
        "timm",
        root="features.1.0.block.1.fc1.weight",
        body=[
            ("features.0.0.{p}", "conv_stem.{p}"),
            ("features.0.1.{p}", "bn1.{p}"),
            ("features.1.{j}.block.0.0.{p}", "blocks.0.{j}.conv_dw.{p}"),
            ("features.1.{j}.block.0.1.{p}", "blocks.0.{j}.bn1.{p}"),
            ("features.1.{j}.block.1.fc1.{p}", "blocks.0.{j}.se.conv_reduce.{p}"),
            ("features.1.{j}.block.1.fc2.{p}", "blocks.0.{j}.se.conv_expand.{p}"),
            ("features.1.{j}.block.2.0.{p}", "blocks.0.{j}.conv_pw.{p}"),
            ("features.1.{j}.block.2.1.{p}", "blocks.0.{j}.bn2.{p}"),
            *_EXPANDED,
            ("features.8.0.{p}", "conv_head.{p}"),
            ("features.8.1.{p}", "bn2.{p}"),
            ("classifier.1.{p}", "classifier.{p}"),
        ],
        conventions=_epsilon,
    ),
    Rule(
        "EfficientNetV2 of torchvision",
        "timm",
        root="features.4.0.block.2.fc1.weight",
        unless="features.1.0.block.1.fc1.weight",
        body=[
            ("features.0.0.{p}", "conv_stem.{p}"),
            ("features.0.1.{p}", "bn1.{p}"),
            ("features.1.{j}.block.0.0.{p}", "blocks.0.{j}.conv.{p}"),
            ("features.1.{j}.block.0.1.{p}", "blocks.0.{j}.bn1.{p}"),
            *(
                row
                for features, stage in ((2, 1), (3, 2))
                for row in (
                    (f"features.{features}.{{j}}.block.0.0.{{p}}", f"blocks.{stage}.{{j}}.conv_exp.{{p}}"),
                    (f"features.{features}.{{j}}.block.0.1.{{p}}", f"blocks.{stage}.{{j}}.bn1.{{p}}"),
                    (f"features.{features}.{{j}}.block.1.0.{{p}}", f"blocks.{stage}.{{j}}.conv_pwl.{{p}}"),
                    (f"features.{features}.{{j}}.block.1.1.{{p}}", f"blocks.{stage}.{{j}}.bn2.{{p}}"),
                )
            ),
            *_EXPANDED,
            ("features.(7|8).0.{p}", "conv_head.{p}"),
            ("features.(7|8).1.{p}", "bn2.{p}"),
            ("classifier.1.{p}", "classifier.{p}"),
        ],
        conventions=lambda _: Conventions(same_padding=False, epsilon=1e-3),
    ),
]
