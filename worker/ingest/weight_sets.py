"""Several sets of weights in one file: raw and averaged, student and teacher, two encoders.  One is taken, and said."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.runtime.contract import Failure

ENOUGH = 0.5  # of the network's names; below that, what stands under a prefix is no set of its weights
RAW = "raw"
AVERAGED = {"ema", "average", "averaged", "avg", "swa", "polyak", "shadow"}
# What the field takes of two that fit equally: the averaged one as timm does, MoCo's query, BYOL's online network,
# MoCo v3's base, DINO's teacher.
BETTER = {
    "ema": {RAW, "student", "online"},
    "teacher": {"student"},
    "query": {"key"},
    "base": {"momentum"},
    "online": {"target", "momentum"},
    RAW: {"momentum", "target"},
}
SWAPPED = "ema_state_dict.steps"  # MMEngine stores the average as `state_dict`, and what was averaged under this


@dataclass(frozen=True)
class Choice:
    """The weights under `prefix`; `others` are the prefixes of the sets that are left aside, `aside` their tensors."""

    prefix: str
    label: str
    others: Sequence[str] = ()
    aside: Collection[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        beside = ", ".join(named(other, self.labels[other]) for other in self.others)
        return (
            f"The file holds several sets of weights: {named(self.prefix, self.label)} was taken, {beside} left aside. "
            "`weights` in the request names another."
        )


def choose(tensors: Mapping[str, Tensor], backbone: Mapping[str, Tensor], wanted: str | None) -> Choice:
    """The set of weights that is taken of `tensors`; where nothing looks like the network's, all of them.

    `backbone` are the network's tensors but for its heads.  `wanted` is `ema`, `raw`, `teacher`, `student`, or the
    prefix of a set; without it the set is chosen that fits best, and of several that fit equally the field's choice,
    whatever their order.

    Raises:
        Failure: `ambiguous_weights`, several fit equally, or there is none such as is wanted: the choices are named.
    """
    names, fits = Counter[str](), Counter[str]()
    for tensor_name, tensor in tensors.items():
        parts = tensor_name.split(".")
        for i in range(len(parts)):
            place = backbone.get(".".join(parts[i:]))
            if place is not None:
                prefix = ".".join([*parts[:i], ""])
                names[prefix] += 1
                fits[prefix] += _sides(tensor) == _sides(place)
    prefixes = sorted(prefix for prefix, count in names.items() if count >= ENOUGH * len(backbone))
    if not prefixes:
        return Choice("", RAW)
    labels = {prefix: label(prefix, swapped=SWAPPED in tensors) for prefix in prefixes}
    chosen = _wanted(prefixes, labels, wanted) if wanted else _best(tensors, backbone, prefixes, fits, labels)
    others = [prefix for prefix in prefixes if prefix != chosen]
    aside = {name for other in others for name in _under(tensors, backbone, chosen, other)}
    return Choice(chosen, labels[chosen], others, aside, labels)


def named(prefix: str, label: str) -> str:
    shown = f"`{prefix.rstrip('.')}`" if prefix else "what stands under no prefix"
    return shown if label == RAW else f"{shown} ({label})"


def _best(
    tensors: Mapping[str, Tensor],
    backbone: Mapping[str, Tensor],
    prefixes: Sequence[str],
    fits: Mapping[str, int],
    labels: Mapping[str, str],
) -> str:
    most = max(fits[prefix] for prefix in prefixes)
    equal = [prefix for prefix in prefixes if fits[prefix] == most]
    better = [
        one for one in equal if all(labels[other] in BETTER.get(labels[one], ()) for other in equal if other != one)
    ]
    if len(better) == 1:
        return better[0]
    if all(_same(tensors, backbone, equal[0], other) for other in equal[1:]):
        return min(equal, key=lambda prefix: (len(prefix), prefix))
    raise _ambiguous("Several sets of weights in the file fit the network equally", equal, labels)


def _wanted(prefixes: Sequence[str], labels: Mapping[str, str], wanted: str) -> str:
    by_label = [prefix for prefix in prefixes if labels[prefix] == wanted]
    part = f"{wanted.rstrip('.')}."
    by_prefix = [
        prefix for prefix in prefixes if f".{prefix}".endswith(f".{part}") or f".{prefix}".startswith(f".{part}")
    ]
    by_part = [prefix for prefix in prefixes if f".{part}" in f".{prefix}"]
    for choices in (by_label, by_prefix, by_part):
        if len(choices) == 1:
            return choices[0]
    raise _ambiguous(f"The file has not exactly one set of weights for `weights: {wanted}`", prefixes, labels)


def _ambiguous(trouble: str, prefixes: Sequence[str], labels: Mapping[str, str]) -> Failure:
    choices = ", ".join(named(prefix, labels[prefix]) for prefix in prefixes)
    return Failure("ambiguous_weights", f"{trouble}: {choices}. Name one by `weights`.")


def label(prefix: str, *, swapped: bool = False) -> str:
    """The label of a set of weights, from the last part of its prefix that says anything."""
    for part in reversed(prefix.lower().split(".")):
        words = re.split(r"[_-]", part)
        if swapped and part in ("state_dict", "ema_state_dict"):
            return "ema" if part == "state_dict" else RAW
        if AVERAGED & set(words):
            return "ema"
        for word in ("teacher", "student", "online", "target", "momentum"):
            if word in words:
                return word
        if "encoder" in words and {"q", "k", "base"} & set(words):
            return "query" if "q" in words else "key" if "k" in words else "base"
    return RAW


def _under(tensors: Mapping[str, Tensor], backbone: Mapping[str, Tensor], chosen: str, other: str) -> list[str]:
    """All that belongs to another set: what begins as its prefix does, down to where that leaves the chosen one's."""
    mine, its = chosen.split(".")[:-1], other.split(".")[:-1]
    common = next((i for i, pair in enumerate(zip(mine, its, strict=False)) if pair[0] != pair[1]), None)
    if common is None and len(its) <= len(mine):  # the chosen set stands within the other
        return [name for name in tensors if name.removeprefix(other) in backbone]
    root = ".".join([*its[: (len(mine) if common is None else common) + 1], ""])
    return [name for name in tensors if name.startswith(root)]


def _same(tensors: Mapping[str, Tensor], backbone: Mapping[str, Tensor], one: str, other: str) -> bool:
    pairs = ((tensors.get(one + name), tensors.get(other + name)) for name in backbone)
    return all(a is None if b is None else a is not None and torch.equal(a, b) for a, b in pairs)


def _sides(tensor: Tensor) -> list[int]:
    return [side for side in tensor.shape if side != 1]
