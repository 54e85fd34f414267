"""A trial on labelled images of networks that a file fits alike: which of them gives images their class more often."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from app.contract.blobs import Input
from app.contract.datasets import Split
from app.contract.identification import Candidate, Trial
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import LabelledDataset
from app.imaging.packed import SPLITS, PackedImages
from worker.data.batches import Prepare
from worker.ingest import alike
from worker.ingest.adopt import Adopted
from worker.ingest.recognise import Recognised
from worker.ingest.watch import DiskWatch
from worker.networks import modes
from worker.runtime import device
from worker.runtime.contract import Failure, Note

MOST_IMAGES, FEWEST_IMAGES = 1000, 20  # that every network is asked about; fewer tell nothing
OPERATIONS = 5e12  # multiplications and additions of a trial: minutes of one core, whatever the networks
LEVEL = 0.05  # of the tests together
BATCH = 25  # images

Take = Callable[[NetworkSpec, InputSpec], Adopted]
Right = NDArray[np.bool_]  # [N]: an image was given its class


@dataclass(frozen=True)
class Question:
    """The labelled images that decide, and what the request and the file say of the network.

    `take` makes a network of the file's weights; `input` and `classes` hold for every candidate, None where nothing
    says what they are.
    """

    dataset: LabelledDataset
    images: PackedImages
    take: Take
    input: InputSpec | None
    classes: list[str] | None

    @classmethod
    def opened(
        cls,
        dataset: LabelledDataset,
        inputs: Mapping[str, Path],
        take: Take,
        *,
        input: InputSpec | None,
        classes: list[str] | None,
    ) -> "Question":
        images = PackedImages.open(inputs[Input.LABELLED_PIXELS], inputs[Input.LABELLED_INDEX])
        return cls(dataset, images, take, input, classes)


@dataclass(frozen=True)
class _Match:
    """The place among the network's outputs of each class of the dataset, −1: none; and by what it was told."""

    column_K: NDArray[np.int64]
    by: Literal["names", "order"]

    @property
    def columns(self) -> list[int]:
        return sorted(int(column) for column in self.column_K if column >= 0)


@dataclass(frozen=True)
class _Asked:
    """`rows` of the dataset, ascending, and the place of each image's class among the columns that are compared."""

    rows: NDArray[np.int64]
    label_N: NDArray[np.int64]
    columns: list[int]

    @property
    def majority(self) -> int:
        return int(np.bincount(self.label_N).max())


def settled(found: Recognised, question: Question, watch: DiskWatch) -> tuple[Recognised, Note]:
    """`found` with the network that a trial decided for, if it did, and a note on that.

    Networks that are beaten beyond chance are ruled out; of the others the most usual one is taken.

    Raises:
        Failure: `does_not_fit`, the file's head has other classes than the dataset, or none; or there are too few
            images.
        Interrupted: an order to stop was given.
    """
    first = question.take(found.network, question.input or found.input)
    differing = alike.differing(found, first.loaded.network, question.input or found.input)
    if not differing:
        return found, not_needed(found.network)
    if first.untrained_head:
        names = ", ".join(network.name for network in (found.network, *differing))
        message = f"The file fits {names} alike, but has no head for classes: no labelled image can decide. "
        raise Failure("does_not_fit", message + "Leave `dataset` out, or name the `network`.")
    match = _match(found, question)
    contenders = [one for one in found.candidates if one.network in (found.network, *differing)]
    asked = _asked(question, match, _affordable(first.loaded.network, question.input or found.input, len(contenders)))
    right: list[Right] = []
    for one in contenders:
        input = question.input or one.input or found.input
        network = question.take(one.network, input).loaded.network
        right.append(_right(network, input, question.images, asked, watch))
    return _verdict(found, question, contenders, right, asked, match.by)


def not_needed(network: NetworkSpec) -> Note:
    """A note that the dataset had nothing to decide."""
    text = f"Which network the file is of was clear ({network.name}): no image of the dataset was asked about."
    return Note("not_measured", text, "warning")


def _match(found: Recognised, question: Question) -> _Match:
    """
    Raises:
        Failure: `does_not_fit`, fewer than two classes are the same.
    """
    theirs, count = question.dataset.classes or [], found.network.num_classes
    named = question.classes or found.imagenet
    numbered = theirs == [str(number) for number in range(len(theirs))]
    if named is not None:
        place = {name: column for column, name in enumerate(named)}
        column_K = np.array([place.get(name, -1) for name in theirs], np.int64)
        if (column_K >= 0).sum() >= 2:
            return _Match(column_K, "names")
    if len(theirs) == count and (question.classes is None or numbered):
        return _Match(np.arange(count), "order")
    says = "has no names of classes" if question.classes is None else f"names others ({_some(question.classes)})"
    message = (
        f"{found.network.name} is not the only network that the file fits, but {question.dataset.id} cannot decide: "
        f"its {len(theirs)} classes ({_some(theirs)}) are not the {count} of the file's head, which {says}. Give a "
        "dataset of the same classes, or leave `dataset` out."
    )
    raise Failure("does_not_fit", message)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _affordable(network: nn.Module, input: InputSpec, networks: int) -> int:
    """The number of images that so many such networks can be asked about."""
    x_BCHW = torch.zeros(1, input.channels, *input.size)
    with torch.no_grad(), modes.evaluating(network), FlopCounterMode(display=False) as counter:
        network(x_BCHW)
    return min(MOST_IMAGES, int(OPERATIONS / (counter.get_total_flops() + 1) / networks))


def _asked(question: Question, match: _Match, most: int) -> _Asked:
    """Images of the shared classes, drawn evenly from the training split; where that has too few, from validation, too.
    The test split is for the end, and asked only where nothing else has labels.

    Raises:
        Failure: `does_not_fit`, there are too few of them, or the networks are too large to ask about enough.
    """
    label_N = question.images.label
    known_N = (label_N >= 0) & (match.column_K[label_N] >= 0)
    generator = np.random.default_rng(0)
    rows = np.zeros(0, np.int64)
    for split in SPLITS:
        if split == "test" and len(rows):
            break
        found = question.images.rows(split)
        rows = np.concatenate([rows, generator.permutation(found[known_N[found]])[: most - len(rows)]])
    if len(rows) < FEWEST_IMAGES:
        reason = (
            f"has {len(rows)} labelled images of the network's classes"
            if most >= FEWEST_IMAGES
            else f"can decide by {most} images alone in the time that there is, so large are the networks"
        )
        message = f"{question.dataset.id} {reason}, and less than {FEWEST_IMAGES} tell nothing: leave `dataset` out."
        raise Failure("does_not_fit", message)
    rows.sort()
    columns = match.columns
    place = np.searchsorted(columns, match.column_K[label_N[rows]])
    return _Asked(rows, place, columns)


def _right(network: nn.Module, input: InputSpec, images: PackedImages, asked: _Asked, watch: DiskWatch) -> Right:
    """Tell for each image whether the network gives it its class, of those that are compared."""
    prepare = Prepare(input, torch.device("cpu"), device.memory_format(network))
    right = []
    with torch.no_grad(), modes.evaluating(network):
        for start in range(0, len(asked.rows), BATCH):
            watch.checkpoint_or_stop()
            pixels_NHWC = images.fitted(asked.rows[start : start + BATCH], input)
            x_BCHW = prepare.normalised(torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2))
            chosen_B = network(x_BCHW)[:, asked.columns].argmax(1).numpy()
            right.append(chosen_B == asked.label_N[start : start + BATCH])
    return np.concatenate(right)


def _verdict(
    found: Recognised,
    question: Question,
    contenders: Sequence[Candidate],
    right: Sequence[Right],
    asked: _Asked,
    matched_by: Literal["names", "order"],
) -> tuple[Recognised, Note]:
    count, correct = len(asked.rows), [int(one.sum()) for one in right]
    best = correct.index(max(correct))
    p_values = [min(1.0, comb(len(right), 2) * mcnemar(right[best], one)) for one in right]
    knows = above_chance(correct[best], count, asked.majority)
    beaten = [knows and p < LEVEL for p in p_values]
    tried = [one.model_copy(update={"accuracy": n / count}) for one, n in zip(contenders, correct, strict=True)]
    chosen = _chosen(found, tried, beaten)
    network = question.take(chosen.network, question.input or chosen.input).loaded.network
    decided = not alike.differing(chosen, network, question.input or chosen.input)
    trial = Trial(
        dataset=question.dataset.id,
        images=_by_split(question.images, asked.rows),
        classes=len(asked.columns),
        matched_by=matched_by,
        majority=asked.majority / count,
        p_value=max(p for number, p in enumerate(p_values) if number != best and (beaten[number] or not decided)),
        decided=decided,
    )
    return replace(chosen, measured=trial), _note(tried, chosen.network.name, trial, knows=knows)


def _chosen(found: Recognised, tried: Sequence[Candidate], beaten: Sequence[bool]) -> Recognised:
    """Take the most usual of the networks that are not beaten; those that compute the same as a beaten one are, too."""
    first, *_ = left = [one for one, lost in zip(tried, beaten, strict=True) if not lost]
    out = [one for one, lost in zip(tried, beaten, strict=True) if lost]
    names = {one.network.name for one in tried}
    same = [one for one in found.candidates if one.network in found.alike and one.network.name not in names]
    known = names | {one.network.name for one in same}
    rest = [one for one in found.candidates if one.network.name not in known]
    alike = [*left[1:], *([] if beaten[0] else same)]
    return replace(
        found,
        network=first.network,
        input=first.input or found.input,
        alike=[one.network for one in alike],
        candidates=[first, *alike, *out, *(same if beaten[0] else []), *rest],
    )


def mcnemar(one: Right, other: Right) -> float:
    """The two-sided p-value of McNemar's exact test: given that two networks differ in an image, either is right as
    often as the other.  McNemar, Psychometrika 12 (1947)."""
    from scipy.stats import binomtest

    wins, losses = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def above_chance(correct: int, count: int, majority: int) -> bool:
    """Tell whether a network is right more often than who always names the class that `majority` of the images have."""
    from scipy.stats import binomtest

    return bool(binomtest(correct, count, majority / count, alternative="greater").pvalue < LEVEL)


def _by_split(images: PackedImages, rows: NDArray[np.int64]) -> dict[Split, int]:
    counts = np.bincount(images.split[rows], minlength=len(SPLITS)).tolist()
    return {split: count for split, count in zip(SPLITS, counts, strict=True) if count}


def _note(tried: Sequence[Candidate], chosen: str, trial: Trial, *, knows: bool) -> Note:
    shares = ", ".join(f"{one.network.name} on {one.accuracy or 0:.1%}" for one in tried)
    splits = " and ".join(f"{count} of its {split} split" for split, count in trial.images.items())
    how = (
        "by their names"
        if trial.matched_by == "names"
        else "in their order, since one of the two has no names for them or others"
    )
    asked = (
        f"The file fits {len(tried)} networks alike. Asked about labelled images of {trial.dataset} ({splits}; the "
        f"{trial.classes} classes were matched {how}), they were right: {shares}. "
    )
    p = f"McNemar's test, p = {trial.p_value:.1g} for all pairs"
    if trial.decided:
        text = f"The difference is beyond chance ({p}): {chosen} was taken."
    elif not knows:
        text = (
            f"None is right more often than who always names the commonest class ({trial.majority:.1%}): are the "
            f"classes in the file's order, and is `input` the one that it was trained for? It was not decided."
        )
    else:
        text = f"It was not decided: the difference may be chance ({p})."
    return Note("network_measured", asked + text, "warning")
