"""Results of background steps: one class for each kind, whose fields become those of rows."""

from pydantic import SerializeAsAny

from app.contract.base import StrictModel
from app.contract.datasets import ClassCounts, Counts, Duplicates, ImageShape, Refused, RevisionReport
from app.contract.evaluation import Evaluation
from app.contract.identification import Identification
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.quantization import QuantizationReport
from app.contract.recipe import Recipe
from app.contract.record import Record
from app.contract.reference import Reference
from app.contract.specs import Labelled
from app.contract.transfer import TensorReport, TransferReport


class Packaged(Record):
    """Weights, and a graph where they can be served; `sha256` is over the tensors alone.

    `not_servable` says why there is no graph, `image_bytes` is the memory that it takes for each image.
    """

    parameters: int
    sha256: str
    not_servable: str | None = None
    image_bytes: int | None = None


class NetworkResult(Record):
    """A network with what it takes and gives; `untrained_head`: its head says nothing of classes."""

    network: NetworkSpec
    input: InputSpec | None = None
    classes: list[str] | None = None
    multi_label: bool = False
    recipe: Recipe | None = None
    untrained_head: bool = False


class CheckpointResult(NetworkResult, Packaged):
    """A checkpoint, made of a file or of published weights.  `identified`: what its file was found to be of, where the
    request named no network."""

    report: TensorReport | None = None
    identified: Identification | None = None


class DatasetResult(Record):
    """A dataset, packed."""

    format: str
    labelled: Labelled
    classes: list[str] | None
    multi_label: bool = False
    image: ImageShape | None
    splits: Counts
    counts: ClassCounts | None = None
    mean: list[float]
    std: list[float]
    refused: list[Refused]
    duplicates: Duplicates | None = None
    sha256: str


class RevisionResult(Record):
    """A revision of a dataset: what is not its parent's.  `pixel_bytes` are those that it shares with its parent."""

    labelled: Labelled
    classes: list[str]
    multi_label: bool
    counts: ClassCounts
    sha256: str
    pixel_bytes: int
    report: RevisionReport


class RunResult(Record):
    """A run that made no network.  `method` are the parameters, everything resolved."""

    method: SerializeAsAny[StrictModel]
    evaluation: Evaluation | None = None


class QuantizedResult(RunResult):
    """A run that made a graph in eight bits of the model it started from."""

    quantization: QuantizationReport


class LearnedResult(NetworkResult, RunResult):
    """A run that has learned a model, whose files are not written yet."""

    transfer: TransferReport | None = None
    reference: Reference | None = None


class AdaptedResult(LearnedResult, Packaged):
    """A run that made a model."""


class Catalogue(Record):
    """The networks that a worker can build: rows of `GET /v1/networks`."""

    entries: list[dict[str, object]]


class Renewed(Record):
    """A piece of the signatures of networks was computed; `complete`: there is nothing left to do."""

    complete: bool
