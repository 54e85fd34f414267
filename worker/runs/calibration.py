"""One temperature for all scores, fitted on the validation split and kept in the head's own weights."""

from dataclasses import replace

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from app.methods.training import Training
from worker.data import targets
from worker.data.batches import Images, Prepare
from worker.methods.task import Adapted, Adapter, Task
from worker.runtime import device
from worker.runtime.contract import Failure, Note
from worker.training import evaluate

BOUNDS = (-3.0, 3.0)  # of the temperature's natural logarithm
TOLERANCE = 1e-4  # of scores, relative to the largest


def calibrate(task: Task, adapted: Adapted, params: Training) -> Adapted:
    """Guo et al. 2017, section 4.2: softmax(z / T), of several labels sigmoid(z / T), with the T of least loss on the
    validation images within the budget.

    The heads' weights and biases are divided by T, so that every copy of the network is calibrated, the served one too.
    Where the network's scores are not proportional to its heads', nothing is changed, and a warning says so.

    Raises:
        Failure: `does_not_fit`, there are no validation images.
    """
    images = _validation(task, adapted, params)
    before_NK = _logits(task, adapted, images)
    divisor = temperature(before_NK, images.label_N.to(before_NK.device))
    _divide(adapted.classifier.module, adapted.classifier.structure.heads, divisor)
    after_NK = _logits(task, adapted, images)
    if (after_NK * divisor - before_NK).abs().max() > TOLERANCE * before_NK.abs().max():
        _divide(adapted.classifier.module, adapted.classifier.structure.heads, 1 / divisor)
        message = "Not calibrated: the network's scores are not proportional to those of its head."
        task.run.emit(Note("calibration", message, "warning"))
        return adapted
    return replace(adapted, temperature=divisor, adapter=_adapter(adapted, divisor))


def temperature(logits_NK: Tensor, y: Tensor) -> float:
    """The temperature of least loss for targets `y` of either kind.  The loss is convex in 1/T, so there is one least;
    it is looked for between e⁻³ and e³."""
    logits_NK, kind = logits_NK.double(), targets.of(y)

    def loss(log_temperature: float) -> float:
        return float(kind.loss(logits_NK * torch.tensor(-log_temperature).exp(), y, None, 0.0))

    minimum = minimize_scalar(loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-6})
    return float(torch.tensor(minimum.x).exp())


def _validation(task: Task, adapted: Adapted, params: Training) -> Images:
    rows = task.target.within(task.target.labelled("validation"), params, task.run.seed)
    images = task.target.examples(rows, adapted.classifier.input, adapted.classifier.classes or task.target.classes)
    if not len(images):
        raise Failure("does_not_fit", "`calibrate` needs labelled validation images, and the dataset has none.")
    return images.to(task.run.device)


def _logits(task: Task, adapted: Adapted, images: Images) -> Tensor:
    prepare = Prepare(adapted.classifier.input, task.run.device, device.memory_format(adapted.classifier.module))
    with torch.inference_mode():
        return torch.cat([adapted.classifier.module(x) for x, _ in evaluate.image_batches(task.run, images, prepare)])


def _divide(network: nn.Module, heads: tuple[str, ...], by: float) -> None:
    with torch.no_grad():
        for path in heads:
            for parameter in network.get_submodule(path).parameters():
                parameter.div_(by)


def _adapter(adapted: Adapted, by: float) -> Adapter | None:
    """An adapter holds a copy of the heads."""
    if adapted.adapter is None:
        return None
    heads = tuple(f".{head}." for head in adapted.classifier.structure.heads)
    tensors = {
        name: tensor / by if any(head in name for head in heads) else tensor
        for name, tensor in adapted.adapter.tensors.items()
    }
    return Adapter(tensors, adapted.adapter.config)
