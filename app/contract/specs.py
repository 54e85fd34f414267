"""Orders to a worker: one class for each kind of background task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BeforeValidator, SerializeAsAny

from app.contract.base import StrictModel
from app.contract.datasets import ClassCounts, Counts, ImageShape, Split
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Recipe
from app.contract.record import Record

Labelled = bool | Literal["test"]
Params = TypeVar("Params", bound=StrictModel)


def _checked(recipe: object) -> object:
    """Drop a recipe from before recipes were checked."""
    return Recipe.read(recipe) if isinstance(recipe, Mapping) else recipe


StoredRecipe = Annotated[Recipe | None, BeforeValidator(_checked)]


class SourceSpec(Record):
    """The checkpoint or model that a run starts from, or a teacher.

    `classes` is None where nobody has named them.  `untrained_head`: its head was drawn at random and says nothing of
    classes.  `drawn` names all tensors that its file did not have.
    """

    network: NetworkSpec
    input: InputSpec
    classes: list[str] | None = None
    multi_label: bool = False
    recipe: StoredRecipe = None
    untrained_head: bool = False
    drawn: tuple[str, ...] = ()


class DatasetSpec(Record):
    """A ready dataset.  `image` is None where sizes are mixed; `labelled`: "test" where training images have no labels.

    `mean` and `std` are those of each channel of the training images, scaled to 0–1.
    """

    format: str | None = None
    classes: list[str] | None = None
    image: ImageShape | None = None
    splits: Counts | None = None
    counts: ClassCounts | None = None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str | None = None
    labelled: Labelled = True


class LabelledDataset(DatasetSpec):
    """The dataset `id`, whose labelled images decide which of several networks a file is of."""

    id: str


class Race(Record):
    """The part of a job in a tournament: its network is judged on the target's labelled validation images when it ends,
    and at a rung, where `pause_after` says after which share of its training's steps it pauses there (None: nowhere).
    """

    pause_after: float | None = None


class RunSpec(Record, Generic[Params]):
    """A job, as a worker runs it.  `method` are its parameters, parsed; what could be resolved is.

    `source` is None where the run starts from scratch.  `source_dataset` is what the source was trained on.  `teachers`
    and `environments` are what the method's parameters name, by id.  `race` is None outside of a tournament.
    """

    method: SerializeAsAny[Params]
    seed: int
    source: SourceSpec | None = None
    target: DatasetSpec
    source_dataset: DatasetSpec | None = None
    teachers: dict[str, SourceSpec] = {}
    environments: dict[str, DatasetSpec] = {}
    race: Race | None = None


class DatasetIngest(Record):
    """A dataset that is to be made of an uploaded file.

    `splits` are the shares of the training images for the splits that the file does not bring; `labels` chooses between
    CIFAR-100's; `columns` says which of a table have what, `split_names` what else splits are called; `classes` is
    their order, and the names of labels that are numbers.
    """

    format: str = "auto"
    labelled: Labelled = True
    splits: dict[Split, float] | None = None
    seed: int = 0
    labels: Literal["fine", "coarse"] = "fine"
    columns: dict[str, str] | None = None
    split_names: dict[Split, list[str]] | None = None
    classes: list[str] | None = None


class DatasetRevision(Record):
    """A dataset that is to have the images and splits of its parent, and labels by a list.

    `classes`, `multi_label` and `warnings` are the parent's.  The list is a table of the name `filename`, whose
    `columns` say what as in `DatasetIngest`; or, `stated`, the JSON of the request: `[{"image", "label"}, …]`.
    """

    classes: list[str] = []
    multi_label: bool = False
    warnings: list[dict[str, str]] = []
    filename: str
    columns: dict[str, str] | None = None
    stated: bool = False


class CheckpointIngest(Record):
    """A checkpoint that is to be made of an uploaded file, or of the weights that a library publishes (`pretrained`).

    What is None is the file's own, where it says what it is.  `weights` names one of several sets in the file;
    `mapping` gives the network's names of tensors of the file; `allow_missing`: the file need not hold the whole
    network, nor the network all that is in the file.  `dataset` decides between networks that the file fits alike.
    """

    network: NetworkSpec | None = None
    input: InputSpec | None = None
    classes: list[str] | None = None
    multi_label: bool = False
    recipe: StoredRecipe = None
    pretrained: str | None = None
    filename: str | None = None
    weights: str | None = None
    mapping: dict[str, str] | None = None
    allow_missing: bool = False
    dataset: LabelledDataset | None = None


class IdentifyRequest(Record):
    """The question which network the weights of an uploaded file are of; `dataset` decides between those that it fits
    alike.  `input` and `classes` are what the network is for, where somebody said so."""

    dataset: LabelledDataset | None = None
    input: InputSpec | None = None
    classes: list[str] | None = None


class CatalogueRequest(Record):
    """The question which networks a worker can build."""


class RenewSignatures(Record):
    """The order to compute the next piece of the signatures of networks, where those that are there are of other
    versions."""


Payload = TypeVar("Payload", bound=Record, covariant=True)


@dataclass(frozen=True)
class Prepared(Generic[Payload]):
    """The spec of a task, and the content addresses of what it reads, by role."""

    spec: Payload
    inputs: Mapping[str, str]
