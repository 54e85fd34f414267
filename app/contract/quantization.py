"""Reports on what a model loses in eight bits."""

from app.contract.record import Record


class Loss(Record):
    """Both graphs on `n` images: their accuracies by precision, how much of it is lost, how far the likeliest class's
    score moves at most and on the mean, and the share of images for which both name the same class."""

    n: int
    accuracy: dict[str, float]
    accuracy_drop: float
    score_shift: float
    mean_score_shift: float
    agreement: float


class QuantizationReport(Record):
    """The limits that were asked for, and what is lost on the validation and the test split."""

    precision: str
    max_accuracy_drop: float
    max_score_shift: float
    validation: Loss
    test: Loss | None
