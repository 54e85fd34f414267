"""An ablation says what one part of a method is worth: the network with it and one without it, image by image."""

from app.contract.evaluation import Ablation, Compared
from app.contract.inputs import InputShape
from worker.methods import measure
from worker.methods.task import Adapted, Task
from worker.metrics import scores
from worker.metrics.scores import Verdict


def judge(task: Task, adapted: Adapted, without: Adapted) -> Ablation | None:
    """Both on the target's test split; the difference is `adapted`'s accuracy less the other's, with its 95 % interval.

    `helped` is null where the interval holds zero.  None without labelled test images.
    """
    one, other = (measure.judged(task.run, which, task.target) for which in (adapted, without))
    if one is None or other is None:
        return None
    difference = scores.paired(one, other)
    return Ablation(
        with_=_compared(one, adapted),
        without=_compared(other, without),
        difference=difference.value,
        interval=difference.interval,
        helped=True if difference.low > 0 else False if difference.high < 0 else None,
    )


def _compared(judged: Verdict, adapted: Adapted) -> Compared:
    return Compared(
        accuracy=judged.accuracy,
        accuracy_interval=scores.wilson(int(judged.hits.sum()), len(judged)),
        input=InputShape.load(adapted.classifier.input.document()),
    )
