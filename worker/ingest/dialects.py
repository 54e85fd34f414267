"""Weights by the names of other libraries: renamed where that is exact, else refused by the library's name."""

import re
from collections.abc import Iterable

from worker.runtime.contract import Failure

ADAPTER = re.compile(
    r"(^|\.)(lora_[A-Za-z_]+|base_layer|modules_to_save|ia3_l|hada_w\d.*|lokr_w\d.*|oft_[A-Za-z]+)(\.|$)"
)
SHARD = re.compile(r"-\d+-of-(\d+)\.[a-z]+$")
TRANSFORMERS = re.compile(
    r"(^|\.)(embeddings\.(patch_embeddings|position_embeddings|cls_token)|embedder\.embedder"
    r"|encoder\.layers?\.\d+\.(attention|layernorm|intermediate)|encoder\.stages\.\d+\.layers\.\d+"
    r"|attention\.attention\.(query|key|value)|layernorm_before|convnextv?2?\.encoder|vision_model\.encoder)"
)
_RESNET = [  # transformers' ResNet, which is torchvision's and timm's
    (re.compile(r"^(resnet\.)?embedder\.embedder\.convolution\."), "conv1."),
    (re.compile(r"^(resnet\.)?embedder\.embedder\.normalization\."), "bn1."),
    (re.compile(r"^(resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution\."), "conv"),
    (re.compile(r"^(resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization\."), "bn"),
    (re.compile(r"^(resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\."), "downsample.0."),
    (re.compile(r"^(resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization\."), "downsample.1."),
    (re.compile(r"^classifier\.1\."), "fc."),
]


def refuse_adapters(names: Iterable[str]) -> None:
    """
    Raises:
        Failure: `unmerged_adapter`, the file is of peft, its corrections beside the weights that they correct.
    """
    adapters = [name for name in names if ADAPTER.search(name)]
    if adapters:
        raise Failure(
            "unmerged_adapter",
            f"These are weights of peft whose corrections are not merged ({len(adapters)} tensors such as "
            f"{adapters[0]}): call `model.merge_and_unload()`, and save `state_dict()` of what it gives.",
        )


def renamed(names: Iterable[str]) -> dict[str, str]:
    """transformers' names of ResNets as torchvision and timm have them, by the names in the file; {} if it has none."""
    originals = list(names)
    if not any(".embedder.embedder." in f".{name}" for name in originals):
        return {}
    return {name: _resnet(name) for name in originals}


def _resnet(name: str) -> str:
    for pattern, place in _RESNET:
        match = pattern.match(name)
        if match is None:
            continue
        rest = name[match.end() :]
        numbers = [int(number) for number in match.groups()[1:]]
        if not numbers:
            return place + rest
        stage, block, *layer = numbers
        last = f"{place}{layer[0] + 1}." if layer else place
        return f"layer{stage + 1}.{block}.{last}{rest}"
    return name


def pooled(names: Iterable[str], places: Iterable[str]) -> bool:
    """Tell whether the file's transformer averages its tokens (a norm after the pooling, as MAE fine-tunes) where the
    network takes the class token (a norm before it)."""
    theirs, own = set(names), set(places)
    return "fc_norm.weight" in theirs - own and "norm.weight" in own - theirs


def explained(failure: Failure, names: Iterable[str], filename: str | None) -> Failure:
    """The failure of a load, with what the file's names or its own name tell of the reason."""
    if filename and (shard := SHARD.search(filename)) and int(shard[1]) > 1:
        advice = f"{filename} is one of {int(shard[1])} parts of a checkpoint: put their tensors into one file. "
        return Failure(failure.code, advice + failure.message)
    if any(map(TRANSFORMERS.search, names)):
        advice = (
            "These tensors have the names of Hugging Face transformers, which the network's own library does not use: "
            "name timm's weights of the same model by `pretrained`, or bring the names over "
            "(`timm.create_model(…).load_state_dict(…)`) and save `state_dict()`. "
        )
        return Failure("foreign_names", advice + failure.message)
    return failure
