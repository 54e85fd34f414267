"""The demo's outcome: the table, and whether fine-tuning clearly beats training from scratch."""

import math
from collections.abc import Sequence

from rich.table import Table

from regraft.demo.plan import CLASSES
from regraft.types import Job, SplitEvaluation


def table(jobs: Sequence[Job], title: str) -> Table:
    """Accuracy on the target's test split with its 95 % interval, and the seconds each took."""
    result = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("", "labels", "test accuracy", "95 % interval", "seconds"):
        result.add_column(heading, justify="left" if not heading else "right")
    for job in jobs:
        result.add_row(job.name, *_figures(job))
    return result


def verdict(fine_tune: Job, scratch: Job) -> str:
    """The verdict by the 95 % interval of the difference of the two: clear where it holds no zero."""
    if fine_tune.evaluation is None or scratch.evaluation is None:
        return "One of the two was not measured: nothing can be said."
    low, high = difference(fine_tune.evaluation.target, scratch.evaluation.target)
    points = f"{low * 100:+.1f} to {high * 100:+.1f} points (95 %)"
    if low > 0:
        return f"Fine-tuning clearly beats training from scratch: {points}."
    if high < 0:
        return f"Fine-tuning is clearly WORSE than training from scratch here: {points}."
    return f"Fine-tuning does NOT clearly beat training from scratch here: {points}."


def difference(one: SplitEvaluation, other: SplitEvaluation) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies (Newcombe 1998, method 10).

    As if each were measured on images of its own; on the same ones the truth is narrower.
    """
    (low, high), (other_low, other_high) = one.accuracy_interval, other.accuracy_interval
    gap = one.accuracy - other.accuracy
    return (
        gap - math.hypot(one.accuracy - low, other_high - other.accuracy),
        gap + math.hypot(high - one.accuracy, other.accuracy - other_low),
    )


def _figures(job: Job) -> tuple[str, str, str, str]:
    labels = "none" if job.method["name"] == "evaluate" else str(job.method["labels_per_class"] * CLASSES)
    seconds = f"{job.seconds:.1f}" if job.seconds is not None else "–"
    if job.evaluation is None:
        return labels, job.status, job.error.message if job.error else "–", seconds
    low, high = job.evaluation.target.accuracy_interval
    return labels, f"{job.evaluation.target.accuracy:.1%}", f"{low:.1%} to {high:.1%}", seconds
