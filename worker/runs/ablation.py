"""What one part of a method is worth: the network with it and one without it, image by image."""

from typing import Any

from worker.methods import measure
from worker.methods.task import Adapted, Task
from worker.metrics import scores
from worker.metrics.scores import Verdict

Document = dict[str, Any]


def judge(task: Task, adapted: Adapted, without: Adapted) -> Document | None:
    """Both on the target's test split; the difference is `adapted`'s accuracy less the other's, with its 95 % interval.

    `helped` is null where the interval holds zero.  None without labelled test images.
    """
    one, other = (measure.judged(task.run, which, task.target) for which in (adapted, without))
    if one is None or other is None:
        return None
    difference = scores.paired(one, other)
    return {
        "with": _figures(one, adapted),
        "without": _figures(other, without),
        **difference.document(),
        "helped": True if difference.low > 0 else False if difference.high < 0 else None,
    }


def _figures(judged: Verdict, adapted: Adapted) -> Document:
    right = int(judged.hits.sum())
    return {
        "accuracy": judged.accuracy,
        "accuracy_interval": list(scores.wilson(right, len(judged))),
        "input": adapted.classifier.input.model_dump(mode="json"),
    }
