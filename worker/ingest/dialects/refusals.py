"""Weights by the names of other libraries that cannot be brought over: refused by the library's name."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from worker.ingest.dialects import translate
from worker.ingest.dialects.translation import Translation
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


def pooled(names: Iterable[str], places: Iterable[str]) -> bool:
    """Tell whether the file's transformer averages its tokens (a norm after the pooling, as MAE fine-tunes) where the
    network takes the class token (a norm before it)."""
    theirs, own = set(names), set(places)
    return "fc_norm.weight" in theirs - own and "norm.weight" in own - theirs


def explained(failure: Failure, tensors: Mapping[str, Tensor], read: Translation, filename: str | None) -> Failure:
    """The failure of a load, with what the file's names or its own name tell of the reason."""
    if filename and (shard := SHARD.search(filename)) and int(shard[1]) > 1:
        advice = f"{filename} is one of {int(shard[1])} parts of a checkpoint: put their tensors into one file. "
        return Failure(failure.code, advice + failure.message)
    if read.layout:
        advice = f"The file's names are those of {read.layout}, and were brought over to {read.library}'s. "
        return Failure(failure.code, advice + failure.message)
    known = sorted({other.layout for other in translate.translations(tensors) if other.renames > len(tensors) / 2})
    if known:
        advice = (
            f"The file's names are those of {' or '.join(known)}: none of what they are brought over to is more like "
            "this network than the names as they are. "
        )
        return Failure("foreign_names", advice + failure.message)
    if any(map(TRANSFORMERS.search, tensors)):
        advice = (
            "These tensors have names of Hugging Face transformers that no rule brings over to this network's: name "
            "timm's network of the same model; or bring the names over (`timm.create_model(…).load_state_dict(…)`) and "
            "save `state_dict()`. "
        )
        return Failure("foreign_names", advice + failure.message)
    return failure
