"""What came of it: the table, and whether fine-tuning clearly beats training from scratch."""

from collections.abc import Sequence

from rich.table import Table

from regraft.demo.plan import CLASSES
from regraft.types import Job


def table(jobs: Sequence[Job], title: str) -> Table:
    """Accuracy on the target's test split with its 95 % interval, and the seconds each took."""
    result = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("", "labels", "test accuracy", "95 % interval", "seconds"):
        result.add_column(heading, justify="left" if not heading else "right")
    for job in jobs:
        result.add_row(job.name, *_figures(job))
    return result


def verdict(fine_tune: Job, scratch: Job) -> str:
    """By the 95 % intervals of the two: clear where they do not overlap."""
    if fine_tune.evaluation is None or scratch.evaluation is None:
        return "One of the two was not measured: nothing can be said."
    tuned, bare = fine_tune.evaluation.target, scratch.evaluation.target
    gain = f"{abs(tuned.accuracy - bare.accuracy) * 100:.1f} points"
    if tuned.accuracy_interval[0] > bare.accuracy_interval[1]:
        return f"Fine-tuning clearly beats training from scratch: by {gain}, the intervals do not overlap."
    if tuned.accuracy_interval[1] < bare.accuracy_interval[0]:
        return f"Fine-tuning is clearly WORSE than training from scratch here, by {gain}."
    direction = "ahead" if tuned.accuracy > bare.accuracy else "not ahead"
    return (
        f"Fine-tuning does NOT clearly beat training from scratch here: {direction} by {gain}, the intervals overlap."
    )


def _figures(job: Job) -> tuple[str, str, str, str]:
    labels = "none" if job.method["name"] == "evaluate" else str(job.method["labels_per_class"] * CLASSES)
    seconds = f"{job.seconds:.1f}" if job.seconds is not None else "–"
    if job.evaluation is None:
        return labels, job.status, job.error.message if job.error else "–", seconds
    low, high = job.evaluation.target.accuracy_interval
    return labels, f"{job.evaluation.target.accuracy:.1%}", f"{low:.1%} to {high:.1%}", seconds
