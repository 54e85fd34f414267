"""The task that a method is given, and the adapted classifier that it gives back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.contract.datasets import ImageShape
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.quantization import QuantizationReport
from app.contract.recipe import Recipe
from app.contract.specs import DatasetSpec, SourceSpec
from app.contract.transfer import TransferReport
from app.imaging.packed import PackedImages, Split
from app.methods.training import LabelBudget
from worker.data import label_budget
from worker.data.batches import Images
from worker.data.memmap import Memmap, MemmapPolicy
from worker.networks.classifier import Classifier
from worker.runtime.contract import Failure
from worker.runtime.run import Run

OVERSAMPLING = 2.0  # times the network's size; a part of a quarter of the area then has a pixel for each of its inputs


@dataclass(frozen=True)
class Domain:
    """A dataset as a run sees it: packed images whose labels index `classes`; −1 is no label.

    Where it is `multi_label`, every image has any number of labels, and is labelled also where that is none.
    """

    images: PackedImages
    classes: list[str]
    image: ImageShape | None  # None where sizes are mixed
    mean: tuple[float, ...]
    std: tuple[float, ...]
    memmap: MemmapPolicy | None = None  # None: all is kept in memory

    @classmethod
    def open(cls, spec: DatasetSpec, pixels: Path, index: Path, memmap: MemmapPolicy | None = None) -> "Domain":
        return cls(PackedImages.open(pixels, index), spec.classes or [], spec.image, spec.mean, spec.std, memmap)

    @property
    def multi_label(self) -> bool:
        return self.images.target is not None

    def labelled(self, split: Split) -> NDArray[np.int64]:
        """Places of the split's labelled images, ascending."""
        rows = self.images.rows(split)
        return rows if self.multi_label else rows[self.images.label[rows] >= 0]

    def within(self, rows: NDArray[np.int64], budget: LabelBudget, seed: int) -> NDArray[np.int64]:
        """The rows among `rows` that the label budget admits; an image without any label counts as of one more
        class."""
        label_N = np.where(self.images.label < 0, len(self.classes), self.images.label)
        if budget.labels_per_class is not None:
            rows = label_budget.per_class(rows, label_N[rows], budget.labels_per_class, seed)
        if budget.train_size is not None:
            rows = label_budget.total(rows, label_N[rows], budget.train_size, seed)
        return rows

    def oversampled(self, spec: InputSpec) -> InputSpec | None:
        """The input contract at a larger size, if the images are stored with more pixels; for those who cut parts from
        them."""
        height, width, _ = self.images.median_shape
        times = min(OVERSAMPLING, height / spec.size[0], width / spec.size[1])
        size = (round(times * spec.size[0]), round(times * spec.size[1]))
        if times <= 1 or size == spec.size or spec.margin:
            return None
        return spec.model_copy(update={"size": size})

    def examples(self, rows: NDArray[np.int64], spec: InputSpec, classes: Sequence[str]) -> Images:
        """The images at the network's size, with targets in the order of `classes`, as `targets` has them.

        Images of other classes are left out; where an image may have several, its other ones are.
        """
        if self.images.target is not None:
            columns_K = [self.classes.index(name) for name in classes]
            target_NK = np.ascontiguousarray(self.images.target[rows][:, columns_K])
            return self.pictures(rows, spec, torch.from_numpy(target_NK))
        place = {name: i for i, name in enumerate(classes)}
        place_K = np.array([place.get(name, -1) for name in self.classes], np.int64)
        label_N = place_K[self.images.label[rows]]
        known = label_N >= 0
        return self.pictures(rows[known], spec, torch.from_numpy(label_N[known]))

    def unlabelled(self, rows: NDArray[np.int64], spec: InputSpec) -> Images:
        """The images at the network's size; no label is read, all are −1."""
        return self.pictures(rows, spec, torch.full((len(rows),), -1))

    def pictures(self, rows: NDArray[np.int64], spec: InputSpec, label_N: Tensor) -> Images:
        """The images at the network's size, with these targets: in memory, or mapped where they are too many for it."""
        shape = (len(rows), *spec.shape)
        if self.memmap is None or math.prod(shape) <= self.memmap.resident_bytes:
            return Images(torch.from_numpy(self.images.fitted(rows, spec)), label_N)
        mapped = Memmap(self.memmap.folder, shape, min_free_bytes=self.memmap.min_free_bytes)
        self.images.fitted(rows, spec, mapped.pixels_NHWC)
        return Images(torch.from_numpy(mapped.pixels_NHWC), label_N, mapped.soon)


@dataclass(frozen=True)
class Source:
    """The checkpoint or model that a job starts from.  `classes` is None where nobody has named them.

    `untrained_head`: its head was drawn at random, and says nothing of classes.  `drawn` are the names of all tensors
    that its file did not have.  `prefix` is what stands before the names of its tensors in the file, where that holds
    others, too.
    """

    network: NetworkSpec
    input: InputSpec
    classes: list[str] | None
    recipe: Recipe | None
    weights: Path
    multi_label: bool = False
    untrained_head: bool = False
    drawn: tuple[str, ...] = ()
    prefix: str = ""

    @classmethod
    def of(cls, spec: SourceSpec, weights: Path) -> "Source":
        return cls(
            spec.network,
            spec.input,
            spec.classes,
            spec.recipe,
            weights,
            spec.multi_label,
            spec.untrained_head,
            spec.drawn,
        )


@dataclass(frozen=True)
class Task:
    """One job: adapt `source` (none: from scratch) to `target`; `source_domain` is what the source was trained on.

    `teachers` are the networks, `environments` the datasets that the method's parameters name, by id.
    """

    run: Run
    target: Domain
    source: Source | None = None
    source_domain: Domain | None = None
    teachers: Mapping[str, Source] = field(default_factory=dict)
    environments: Mapping[str, Domain] = field(default_factory=dict)

    @property
    def same_kind(self) -> bool:
        """Tell whether source and target give an image one label each, or any number each: else no head fits both."""
        return self.source is not None and self.source.multi_label == self.target.multi_label

    @cached_property
    def known_source(self) -> Source:
        if self.source is None:
            raise Failure("does_not_fit", "This method needs a checkpoint or a model to start from.")
        return self.source


@dataclass(frozen=True)
class LabelUse:
    """Counts of the target's labels that a method has seen, by split.

    `watched` were looked at to show how the training goes, and decided nothing.  `elsewhere`: what of other datasets.
    """

    train: int = 0
    validation: int = 0
    watched: int = 0
    elsewhere: str = ""

    def __str__(self) -> str:
        return f"{self.elsewhere}; {self._target}" if self.elsewhere else self._target

    @property
    def _target(self) -> str:
        if self.watched:
            return (
                "none of the target's, neither for learning nor for selection; "
                f"{self.watched} training and validation labels gave the k-NN accuracy that was shown; "
                "its test labels were read once, at the end"
            )
        if not self.train and not self.validation:
            return "none of the target's; its test labels were read once, at the end"
        return (
            f"{self.train} training labels and {self.validation} validation labels of the target; "
            "its test labels were read once, at the end"
        )


@dataclass(frozen=True)
class Adapter:
    """Corrections of a source's weights by themselves, and their configuration."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]


@dataclass(frozen=True)
class Quantised:
    """A graph of another precision, and what is to be known of it."""

    graph: Path
    report: QuantizationReport


@dataclass(frozen=True)
class Adapted:
    """The result of a method: a classifier in evaluation mode, and all that is to be known of it.

    `params` are the method's, resolved.  `transfer` says what came from the source and how.
    `source_head` is the source's head where that went on learning.  `temperature` is what the scores were divided by.
    `without` is the same without what the method is about, to be compared with when all is learnt.
    `headless`: its output says nothing, it is there for its features.  `quantised`: the network is the source as it
    was, and this is what was made.
    """

    classifier: Classifier
    spec: NetworkSpec
    params: Any
    labels: LabelUse = LabelUse()
    transfer: TransferReport = field(default_factory=TransferReport)
    source_head: nn.Module | None = None
    adapter: Adapter | None = None
    temperature: float | None = None
    without: "Adapted | None" = None
    headless: bool = False
    quantised: Quantised | None = None
