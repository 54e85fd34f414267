"""Readings of the names in a file by the rules of all libraries, and the one that is most like a network."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from worker.ingest.dialects import authors, clip, efficientnet, mmpretrain, torchvision, transformers
from worker.ingest.dialects.rule import Rule
from worker.ingest.dialects.translation import Translation, untranslated

RULES: Sequence[Rule] = [
    *transformers.RULES,
    *efficientnet.RULES,
    *torchvision.RULES,
    *clip.RULES,
    *mmpretrain.RULES,
    *authors.RULES,
]


def translations(tensors: Mapping[str, Tensor]) -> list[Translation]:
    """All that the names in a file may be in timm and torchvision, by the layouts that they have; [] if none is known.

    Conversions are exact: with the library's conventions (`Translation.conventions`) the network computes what the
    file's own computed.
    """
    original = untranslated(tensors)
    into_timm = [translation for rule in RULES for translation in rule.translations(original)]
    return [*into_timm, *_into_torchvision([original, *into_timm])]


def _into_torchvision(translations: Sequence[Translation]) -> Iterator[Translation]:
    """Translations from timm to torchvision; none of files with conventions of their own, which torchvision has not."""
    for translation in translations:
        if translation.conventions is None and not translation.layout.endswith("torchvision"):
            for rule in torchvision.FROM_TIMM:
                yield from rule.translations(translation)


def fitting(tensors: Mapping[str, Tensor], backbone: Mapping[str, Tensor]) -> Translation:
    """The reading of a file's names under which most of `backbone`, a network's tensors but for its heads, is there.

    Names are taken as they are unless another reading has more, or as much and says of other tensors why they are left.
    """
    original = untranslated(tensors)
    readings = [original, *translations(tensors)]
    return max(readings, key=lambda reading: (fit(reading.tensors, backbone), -len(reading.pieces)))


def fit(tensors: Mapping[str, Tensor], backbone: Mapping[str, Tensor]) -> int:
    """Count the names of a network that are among `tensors` under one prefix; twice those that have its shape, too."""
    votes: Counter[str] = Counter()
    for name, tensor in tensors.items():
        parts = name.split(".")
        for i in range(len(parts)):
            place = backbone.get(".".join(parts[i:]))
            if place is not None:
                sides = [side for side in tensor.shape if side != 1]
                votes[".".join([*parts[:i], ""])] += 1 + (sides == [side for side in place.shape if side != 1])
    return max(votes.values(), default=0)
