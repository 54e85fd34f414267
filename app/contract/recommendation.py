"""Recommendations: what is measured of each checkpoint on a dataset before any training, and what is forecast of it."""

from typing import Literal

from app.contract.base import StrictModel
from app.contract.record import Record
from app.contract.specs import DatasetSpec, SourceSpec

EVIDENCE_EDITION = 1  # to be raised when the same images and weights come to other evidence


class EvidenceScore(Record):
    """A piece of evidence.  `tier` as in docs/choosing.md: 0 static, 1 history, 2 features, 3 probe.  `value` is None
    where it has no meaning here, for `reason`."""

    name: str
    tier: int
    value: float | None = None
    reason: str | None = None


class MeasuredAccuracy(Record):
    """An accuracy (0–1) with its 95 % `interval`, over `n` images."""

    accuracy: float
    interval: tuple[float, float]
    n: int


class Evidence(Record):
    """Measurements of a frozen checkpoint on `images` of the dataset's training split.

    `probe` is a ridge regression of the labels on its features, each image judged by one that has not seen it;
    `unchanged` is what the checkpoint itself says of the images, where it knows all their classes.  `failure` says why
    nothing could be measured.  `image_seconds` is what its network takes for an image, without gradients.  `edition` is
    0 where it is from before editions were told.
    """

    checkpoint: str
    images: int = 0
    features: int | None = None
    probe: MeasuredAccuracy | None = None
    unchanged: MeasuredAccuracy | None = None
    scores: list[EvidenceScore] = []
    failure: str | None = None
    image_seconds: float | None = None
    edition: int = 0


class RecommendationSpec(Record):
    """The order to measure `candidates`, by id, on at most `images` of the target's training split.

    `labels` (a class) of them are seen: None is all, 0 none.  `source_dataset`: what the gap is measured from.
    `known` was measured of the same before, and is not measured again.
    """

    images: int
    seed: int
    labels: int | None = None
    candidates: dict[str, SourceSpec]
    target: DatasetSpec
    source_dataset: DatasetSpec | None = None
    known: list[Evidence] = []


LabelRule = Literal["coreset", "margin"]


class ToLabel(Record):
    """Images of the training split whose labels were not read, the first worth most: their places in the dataset.

    `rule`: `coreset`, each unlike all that have labels or stand before it, or `margin`, the most doubtful; by features
    of `checkpoint`.
    """

    checkpoint: str
    rule: LabelRule
    rows: list[int]


class Measurements(Record):
    """The evidence on every candidate, in the order of the spec; `to_label` is None where all labels were read, or
    nothing could be measured."""

    evidence: list[Evidence]
    to_label: ToLabel | None = None


class Contribution(StrictModel):
    """A term of the sum that a forecast is: `contribution` in logits."""

    tier: int
    name: str
    value: float | None
    contribution: float


class Predicted(StrictModel):
    """`accuracy` on the target's test images, with an interval that holds it in 90 of 100 cases."""

    accuracy: float
    interval: tuple[float, float]
    p_best: float
    p_worse_than_unchanged: float | None
    p_worse_than_scratch: float | None


class Forecast(StrictModel):
    """One choice: a checkpoint (None: from scratch) and a method, ranked."""

    rank: int
    checkpoint: str | None
    method: str
    predicted: Predicted
    evidence: list[Contribution]
    reasons: list[str]
    warnings: list[dict[str, str]]


class Forecasts(StrictModel):
    """All choices, the best first.  `abstains` where the data cannot decide among the first ones, `because` says why;
    `to_decide` is the smallest question that would."""

    entries: list[Forecast]
    unchanged: float | None
    scratch: float | None
    abstains: bool
    because: str | None
    to_decide: dict[str, object] | None
