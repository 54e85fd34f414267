"""Network, input and classes by `config.json` and `preprocessor_config.json` of the Hugging Face hub."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks import from_timm

SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant"}
SWIN = {(96, 6): "tiny", (96, 18): "small", (128, 18): "base", (192, 18): "large"}  # width, blocks of the third stage
CONVNEXT = {
    (40, 6): "atto",
    (48, 6): "femto",
    (64, 6): "pico",
    (80, 8): "nano",
    (96, 9): "tiny",
    (96, 27): "small",
    (128, 27): "base",
    (192, 27): "large",
    (256, 27): "xlarge",
    (352, 27): "huge",
}
RESNET = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (2, 2, 2, 2)): 26,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
EFFICIENTNET = [(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1)]
GELU = ("gelu", None)
_UNNAMED = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class Described:
    """A network with its input and classes, as a repository describes it; None what it does not, or not usably."""

    network: NetworkSpec | None = None
    input: InputSpec | None = None
    classes: list[str] | None = None


def described(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Described:
    """Read timm's or transformers' configuration; whatever in it is not as they write it tells nothing."""
    count = _count(config)
    classes = _classes(config)
    name = _network(config)
    return Described(
        network=NetworkSpec(name=from_timm.PREFIX + name, num_classes=count) if name and count else None,
        input=_input(config, preprocessor),
        classes=classes if classes and len(classes) == count else None,
    )


def _count(config: Mapping[str, Any]) -> int | None:
    labels = config.get("id2label")
    count = config.get("num_classes", config.get("num_labels", len(labels) if isinstance(labels, dict) else None))
    return count if isinstance(count, int) and count > 0 else None


def _classes(config: Mapping[str, Any]) -> list[str] | None:
    """The names of classes in their order; None where they are only numbered, or two have one name."""
    labels = config.get("id2label", config.get("label_names"))
    if isinstance(labels, dict):
        try:
            labels = [labels[key] for key in sorted(labels, key=int)]
        except ValueError:
            return None
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        return None
    if all(map(_UNNAMED.fullmatch, labels)) or len(set(labels)) < len(labels):
        return None
    return labels


def _network(config: Mapping[str, Any]) -> str | None:
    """The name of timm's network; None where the configuration names none that timm has."""
    named = config.get("architecture")
    if not isinstance(named, str):
        kind = _KINDS.get(str(config.get("model_type")))
        try:
            named = kind(config) if kind else None
        except (KeyError, TypeError, ValueError, IndexError):
            named = None
    return named if named is not None and from_timm.knows(from_timm.PREFIX + named) else None


def _vit(config: Mapping[str, Any]) -> str | None:
    if config.get("hidden_act") not in GELU:
        return None
    size, patch = SIZES[config["hidden_size"]], config.get("patch_size", 16)
    family, token = ("deit", "_distilled") if config["model_type"] == "deit" else ("vit", "")
    return f"{family}_{size}{token}_patch{patch}_{_side(config)}"


def _beit(config: Mapping[str, Any]) -> str:
    return f"beit_{SIZES[config['hidden_size']]}_patch{config.get('patch_size', 16)}_{_side(config)}"


def _dinov2(config: Mapping[str, Any]) -> str:
    registers = "_reg4" if config["model_type"].endswith("registers") else ""
    return f"vit_{SIZES[config['hidden_size']]}_patch14{registers}_dinov2"


def _clip(config: Mapping[str, Any]) -> str:
    vision = config.get("vision_config") or config
    activation = {"quick_gelu": "clip_quickgelu", "gelu": "clip"}[vision.get("hidden_act", "quick_gelu")]
    return f"vit_{SIZES[vision.get('hidden_size', 768)]}_patch{vision.get('patch_size', 32)}_{activation}_224"


def _swin(config: Mapping[str, Any]) -> str:
    size, window = SWIN[config["embed_dim"], config["depths"][2]], config.get("window_size", 7)
    if config["model_type"] == "swinv2":
        return f"swinv2_{size}_window{window}_{config.get('image_size', 256)}"
    return f"swin_{size}_patch4_window{window}_{config.get('image_size', 224)}"


def _convnext(config: Mapping[str, Any]) -> str:
    return f"{config['model_type']}_{CONVNEXT[config['hidden_sizes'][0], config['depths'][2]]}"


def _resnet(config: Mapping[str, Any]) -> str:
    return f"resnet{RESNET[config.get('layer_type', 'bottleneck'), tuple(config['depths'])]}"


def _efficientnet(config: Mapping[str, Any]) -> str:
    return f"tf_efficientnet_b{EFFICIENTNET.index((config['width_coefficient'], config['depth_coefficient']))}"


def _mobilenet(config: Mapping[str, Any]) -> str:
    return f"mobilenetv2_{round(100 * config.get('depth_multiplier', 1.0)):03}"


_KINDS = {
    "vit": _vit,
    "deit": _vit,
    "beit": _beit,
    "dinov2": _dinov2,
    "dinov2_with_registers": _dinov2,
    "clip": _clip,
    "clip_vision_model": _clip,
    "swin": _swin,
    "swinv2": _swin,
    "convnext": _convnext,
    "convnextv2": _convnext,
    "resnet": _resnet,
    "efficientnet": _efficientnet,
    "mobilenet_v2": _mobilenet,
}


def _side(config: Mapping[str, Any]) -> int:
    """The side in the name of a network that takes any: what it is named for is the nearest that timm has."""
    return 384 if config.get("image_size", 224) >= 384 else 224


def _input(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> InputSpec | None:
    """The input that timm's configuration names, or transformers' preprocessor makes; `size` is that of the crop."""
    published = config.get("pretrained_cfg")
    try:
        if isinstance(published, dict):
            channels, height, width = published["input_size"]
            mean, std = published["mean"], published["std"]
            return InputSpec(size=(height, width), channels=channels, mean=tuple(mean), std=tuple(std))
        if not preprocessor:
            return None
        mean, std = _normalisation(preprocessor)
        return InputSpec(size=_size(preprocessor), channels=len(mean), mean=tuple(mean), std=tuple(std))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, ValidationError):
        return None


def _size(preprocessor: Mapping[str, Any]) -> tuple[int, int]:
    size = preprocessor.get("size")
    if preprocessor.get("do_center_crop") and preprocessor.get("crop_size"):
        size = preprocessor["crop_size"]
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and "height" in size:
        return size["height"], size["width"]
    if isinstance(size, Mapping):
        return size["shortest_edge"], size["shortest_edge"]
    raise ValueError("it has no size")


def _normalisation(preprocessor: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and std of values from 0 to 1, whatever the preprocessor scales pixels to before it takes its own."""
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if preprocessor.get("do_normalize") is False or mean is None or std is None:
        mean, std = (0.0,) * 3, (1.0,) * 3
    scale = 255 * preprocessor.get("rescale_factor", 1 / 255) if preprocessor.get("do_rescale", True) else 255.0
    offset = 1.0 if preprocessor.get("rescale_offset") else 0.0
    return [round((m + offset) / scale, 6) for m in mean], [round(s / scale, 6) for s in std]
