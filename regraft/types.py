"""Records that the service returns.  Fields that a newer service adds are kept as they come."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Metadata = dict[str, str]


class Record(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Failure(Record):
    """The failure of a task: a stable code and a sentence."""

    code: str
    message: str


class Warned(Record):
    """A warning on an object that is usable all the same: a stable code, and a sentence."""

    code: str
    message: str


class Object(Record):
    id: str
    object: str
    created_at: datetime


class File(Object):
    filename: str
    bytes: int
    sha256: str


class Upload(Object):
    filename: str
    bytes: int | None = None
    sha256: str | None = None
    expires_at: datetime | None = None


class Network(Record):
    name: str
    num_classes: int
    options: dict[str, Any] = {}


class Input(Record):
    """Pixels scaled to 0–1, then `(x - mean) / std` per channel, at `size` = (height, width)."""

    size: tuple[int, int]
    channels: int
    mean: list[float]
    std: list[float]
    fit: str = "stretch"
    margin: int = 0


class Report(Record):
    """The fate of each tensor of a checkpoint."""

    copied: list[Any] = []
    renamed: list[Any] = []
    reshaped: list[Any] = []
    skipped: list[Any] = []
    initialised: list[Any] = []


class Identified(Record):
    """A file's network: `candidates` as the service gives them, the best first."""

    rule: str | None = None
    candidates: list[dict[str, Any]] = []
    measured: dict[str, Any] | None = None


class Identification(Object):
    status: str
    error: Failure | None = None
    file: str
    dataset: str | None = None
    input: Input | None = None
    classes: list[str] | None = None
    rule: str | None = None
    candidates: list[dict[str, Any]] | None = None
    measured: dict[str, Any] | None = None
    warnings: list[Warned] = []


class Checkpoint(Object):
    name: str
    status: str
    error: Failure | None = None
    network: Network | None = None
    input: Input | None = None
    classes: list[str] | None = None
    multi_label: bool = False
    parameters: int | None = None
    sha256: str | None = None
    report: Report | None = None
    identified: Identified | None = None
    warnings: list[Warned] = []
    metadata: Metadata = {}


class Refused(Record):
    name: str
    reason: str


class Revision(Record):
    """Counts of what became of the labels in a revision; see `docs/api.md`."""

    added: int
    changed: int
    unchanged: int
    removed: int
    blank: int
    unknown: int
    unknown_images: list[str] = []


class Dataset(Object):
    name: str
    status: str
    error: Failure | None = None
    parent: str | None = None
    labels_file: str | None = None
    revision: Revision | None = None
    format: str
    classes: list[str] | None = None
    labelled: bool | Literal["test"]
    multi_label: bool = False
    columns: dict[str, str | None] | None = None
    split_names: dict[str, list[str]] | None = None
    image: dict[str, int] | None = None
    splits: dict[str, int] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    refused: list[Refused] | None = None
    duplicates: dict[str, Any] | None = None
    sha256: str | None = None
    warnings: list[Warned] = []
    metadata: Metadata = {}


class JobProgress(Record):
    step: int = 0
    total_steps: int | None = None
    fraction: float
    eta_s: float | None = None


class SplitEvaluation(Record):
    """A model measured on one split, once; fractions of 1, 95 % intervals.

    From `map` on: where an image has any number of labels.
    """

    split: str
    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float | None = None
    nll: float | None = None
    ece: float | None = None
    per_class: list[float | None] = []
    confusion: list[list[int]] | None = None
    map: float | None = None
    average_precision: list[float | None] | None = None
    macro_f1: float | None = None
    micro_f1: float | None = None


class Opponent(Record):
    """An alternative use of the labels: `difference` is the model's accuracy less this one's."""

    name: str
    accuracy: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    reason: str | None = None


class Guard(Record):
    """The verdict whether the transfer helped, against a network from scratch, or the unchanged source where a
    method learns without the target's labels; None where that is not clear."""

    against: list[Opponent]
    helped: bool | None = None
    regressions: list[str] = []
    verdict: str


class Compared(Record):
    """One of the two networks of an ablation."""

    accuracy: float
    accuracy_interval: tuple[float, float]
    input: Input


class Ablation(Record):
    """The worth of a rule on the same test images; `helped` is None where that is not clear."""

    model_config = ConfigDict(serialize_by_alias=True)

    with_: Compared = Field(alias="with")
    without: Compared
    difference: float
    interval: tuple[float, float]
    helped: bool | None = None


class Evaluation(Record):
    target: SplitEvaluation
    source: SplitEvaluation | None = None
    labels_used: Any = None
    guard: Guard | None = None
    ablation: Ablation | None = None


class Choice(Record):
    """The choice of an `auto` job: its result is that of `job`; `recommendation` and `tournament` decided."""

    recommendation: str | None = None
    tournament: str | None = None
    job: str | None = None
    checkpoint: str | None = None
    method: dict[str, Any] | None = None
    because: str | None = None


class Job(Object):
    started_at: datetime | None = None
    finished_at: datetime | None = None
    name: str | None = None
    status: str
    attempt: int = 0
    queue_position: int | None = None
    starts_in_s: float | None = None
    priority: str = "normal"
    max_seconds: float | None = None
    progress: JobProgress
    checkpoint: str | None = None
    dataset: str
    source_dataset: str | None = None
    method: dict[str, Any]
    seed: int
    error: Failure | None = None
    model: str | None = None
    evaluation: Evaluation | None = None
    lineage: dict[str, Any] = {}
    tournament: str | None = None
    choice: Choice | None = None
    warnings: list[Warned] = []
    metadata: Metadata = {}

    @property
    def finished(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    @property
    def seconds(self) -> float | None:
        """The seconds that the last attempt ran."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


class Predicted(Record):
    """The forecast of an accuracy, with an interval that holds it in 90 of 100 cases."""

    accuracy: float
    interval: tuple[float, float]
    p_best: float
    p_worse_than_unchanged: float | None = None
    p_worse_than_scratch: float | None = None


class RecommendationEntry(Record):
    """A choice: with the dataset, `checkpoint` and `method` are a job."""

    rank: int
    checkpoint: str | None = None
    method: dict[str, Any]
    predicted: Predicted
    cost: dict[str, float | None] = {}
    evidence: list[dict[str, Any]] = []
    reasons: list[str] = []
    warnings: list[Warned] = []


class RecommendationCandidate(Record):
    """A checkpoint that was asked about; `failure` says why nothing is forecast of it."""

    id: str
    name: str | None = None
    measured: bool = False
    scores: list[dict[str, Any]] = []
    failure: str | None = None


class Recommendation(Object):
    """`narrows` is the one that it asks again, with more labels."""

    status: str
    error: Failure | None = None
    dataset: str
    narrows: str | None = None
    candidates: list[RecommendationCandidate] = []
    objective: str = "accuracy"
    budget_s: float | None = None
    entries: list[RecommendationEntry] = []
    baselines: dict[str, float | None] = {}
    label_use: str | None = None
    abstains: bool = False
    because: str | None = None
    to_decide: dict[str, Any] | None = None
    jobs: list[dict[str, Any]] = []
    warnings: list[Warned] = []

    @property
    def finished(self) -> bool:
        return self.status in ("ready", "failed")


class PreflightSeconds(Record):
    """The seconds that a job is expected to run, and an interval about them."""

    estimate: float
    interval: tuple[float, float]


class Preflight(Object):
    """The cost of a job; null until it is `ready`.  Where it does not fit, figures are of what `suggestion` names."""

    status: str
    error: Failure | None = None
    checkpoint: str | None = None
    dataset: str
    source_dataset: str | None = None
    method: dict[str, Any]
    seed: int = 0
    fits: bool | None = None
    seconds: PreflightSeconds | None = None
    memory_bytes: int | None = None
    available_bytes: int | None = None
    suggestion: dict[str, Any] | None = None
    input: dict[str, Any] | None = None
    steps: int | None = None
    step_seconds: float | None = None
    device: str | None = None
    warnings: list[Warned] = []

    @property
    def finished(self) -> bool:
        return self.status in ("ready", "failed")


class OutcomeEntry(Record):
    """A forecast beside the truth, where a job has finished that tells it."""

    rank: int
    checkpoint: str | None = None
    method: dict[str, Any]
    predicted: Predicted
    job: str | None = None
    accuracy: float | None = None
    inside: bool | None = None


class ImageToLabel(Record):
    """`image` is a thumbnail, a PNG as a data URI; labels name it by `id`, that of its sample, or by its file's
    `name`."""

    id: str
    name: str | None = None
    image: str


class ToLabel(Record):
    """Images to label next, the first worth most."""

    recommendation: str
    dataset: str
    checkpoint: str | None = None
    rule: str | None = None
    images: list[ImageToLabel]


class Calibration(Record):
    """A report card: `jobs` were submitted from recommendations; errors are the truth less the forecast."""

    jobs: int
    inside: int
    coverage: float | None = None
    expected: float
    mean_error: float | None = None
    mean_absolute_error: float | None = None
    compared: int
    regret: float | None = None
    methods: list[dict[str, Any]] = []


class Outcome(Record):
    recommendation: str
    entries: list[OutcomeEntry]
    known: int
    inside: int


class Model(Object):
    job: str
    checkpoint: str | None = None
    dataset: str
    network: Network
    input: Input | None = None
    classes: list[str] | None = None
    multi_label: bool = False
    parameters: int | None = None
    sha256: str
    reference: dict[str, Any] | None = None
    evaluation: Evaluation | None = None
    transfer: dict[str, Any] | None = None
    quantization: dict[str, Any] | None = None
    warnings: list[Warned] = []
    metadata: Metadata = {}


class Event(Record):
    id: str
    seq: int
    object: str = "event"
    subject: str | None = None
    job: str | None = None
    at: datetime
    level: str
    type: str
    message: str
    data: dict[str, Any] = {}


class Metric(Record):
    """A point of a series."""

    name: str
    split: str
    step: int
    epoch: float
    value: float
    at: datetime | None = None


class Score(Record):
    label: str
    probability: float


class Unusual(Record):
    """`energy`, the higher the more unusual, and the share of the validation images that are less so."""

    energy: float
    quantile: float


class Prediction(Record):
    index: int
    label: str
    probability: float
    labels: list[str] | None = None
    out_of_distribution: Unusual | None = None
    top: list[Score] = []


class Priors(Record):
    """Shares of classes that probabilities were corrected for, and those that they went by before."""

    estimated: bool
    images: int
    reference: dict[str, float]
    shares: dict[str, float]


class Predictions(list[Prediction]):
    """Predictions in the order in which the images were sent; `priors` where they were corrected."""

    def __init__(self, predictions: Iterable[Prediction], priors: Priors | None = None) -> None:
        super().__init__(predictions)
        self.priors = priors


class Adaptation(Record):
    """The state of a network that adapts to the images it is asked about."""

    steps: int
    images: int
    entropy: float | None
    waiting: int
    collapses: int


class MethodInfo(Record):
    """A method that a job can name, with the JSON Schema of its parameters."""

    name: str


class NetworkInfo(Record):
    """A network that a checkpoint or `train` can name."""

    name: str


class Key(Object):
    """`key` is the secret itself, shown once, by `create` alone."""

    name: str | None = None
    scopes: list[str] = []
    key: str | None = None
