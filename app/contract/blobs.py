"""The roles of blobs: what a background step reads, and what it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Input(StrEnum):
    """Roles of the files that a step reads; those of teachers and environments have an id in their name."""

    FILE = "file"
    PARENT_PIXELS = "parent.pixels"
    PARENT_INDEX = "parent.index"
    SOURCE_WEIGHTS = "source.weights"
    TARGET_PIXELS = "target.pixels"
    TARGET_INDEX = "target.index"
    SOURCE_DATASET_PIXELS = "source_dataset.pixels"
    SOURCE_DATASET_INDEX = "source_dataset.index"
    LABELLED_PIXELS = "labelled.pixels"
    LABELLED_INDEX = "labelled.index"


class Artifact(StrEnum):
    """Roles of the files that a step leaves."""

    WEIGHTS = "weights"
    GRAPH = "graph"
    ADAPTER = "adapter"
    QUANTIZED = "quantized"
    PIXELS = "pixels"
    INDEX = "index"


def teacher_weights(teacher: str) -> str:
    """Name the role of the weights of the network with this id, which the method's parameters name."""
    return f"teacher.{teacher}.weights"


def environment_pixels(dataset: str) -> str:
    """Name the role of the pixels of the dataset with this id, which the method's parameters name."""
    return f"environment.{dataset}.pixels"


def environment_index(dataset: str) -> str:
    """Name the role of the index that belongs to `environment_pixels`."""
    return f"environment.{dataset}.index"


@dataclass(frozen=True)
class Written:
    """The artifacts of a step in the blob store: their content addresses by role, and their bytes together."""

    addresses: Mapping[str, str]
    stored_bytes: int = 0
