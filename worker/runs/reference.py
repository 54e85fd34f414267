"""The reference of a model's later answers: what its network makes of validation images."""

import numpy as np
from torch import Tensor

from app.contract.reference import LEVELS, Reference
from worker.data.batches import Prepare
from worker.export import served
from worker.methods.task import Adapted, Task
from worker.runtime import device
from worker.training import evaluate

SAME = 1e-4  # energies of less spread than this differ by rounding alone


def measure(task: Task, adapted: Adapted) -> Reference | None:
    """Measure energies (Liu et al. 2020, eq. 4; of several labels Wang et al. 2021, eq. 7) and mean probabilities on
    all validation images, whose labels are not read.

    The mean probabilities are the priors that belong to the network's answers, whatever its training drew, weighed or
    smoothed (Alexandari et al. 2020, section 3.3).  None where there are no validation images, or the network says
    nothing of classes.
    """
    if adapted.headless or not len(task.target.images.rows("validation")):
        return None
    return of_logits(_logits(task, adapted), multi_label=task.target.multi_label)


def of_logits(logits_NK: Tensor, *, multi_label: bool) -> Reference:
    """The reference of a network that has these logits for validation images."""
    energy_N = served.energy(logits_NK, multi_label=multi_label).double().cpu().numpy()
    told: dict[str, list[float]] = {}
    if np.ptp(energy_N) > SAME or len(energy_N) == 1:
        told["energy"] = np.quantile(energy_N, np.linspace(0, 1, LEVELS)).tolist()
    if not multi_label:
        told["priors"] = logits_NK.double().softmax(1).mean(0).tolist()
    return Reference.model_validate({"images": len(logits_NK), **told})


def _logits(task: Task, adapted: Adapted) -> Tensor:
    classifier = adapted.classifier
    images = task.target.unlabelled(task.target.images.rows("validation"), classifier.input).to(task.run.device)
    prepare = Prepare(classifier.input, task.run.device, device.memory_format(classifier.module))
    return evaluate.logits(task.run, classifier.module, evaluate.image_batches(task.run, images, prepare))
