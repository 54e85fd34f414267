"""`distil_ensemble`: one student learns what several teachers say."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from app.contract.networks import NetworkSpec
from app.contract.transfer import TensorReport, TransferReport
from app.methods.fusion.distil_ensemble import DistilEnsemble, union, untold
from app.methods.terms.distillation import Distillation
from worker.data import batches as data
from worker.data import transforms
from worker.data.batches import Batch, Images, Prepare
from worker.methods import inputs, transferred
from worker.methods.task import Adapted, LabelUse, Task
from worker.networks import build
from worker.networks.classifier import Classifier, Outputs
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.runtime.run import Run
from worker.terms import distillation
from worker.terms.base import Setting, Term
from worker.training import evaluate
from worker.training.protocols import Losses, Moment, Validation
from worker.training.trainer import Trainer


@dataclass(frozen=True)
class _Student:
    spec: NetworkSpec
    learner: Classifier
    report: TransferReport


def run(task: Task, params: DistilEnsemble) -> Adapted:
    """Hinton et al. 2015, section 2; of teachers with other classes each is followed in what it tells apart
    (Vongkulbhisal et al. 2019, Unifying heterogeneous classifiers with distillation, eq. 3)."""
    classes = _classes(task, params)
    student = _student(task, params, classes)
    learner, run = student.learner, task.run
    rows = task.target.images.rows("train")
    params = params.resolve(len(rows), learner.input.size)
    schedule = params.schedule
    train, used = _training(task, params, learner)
    terms = _terms(task, params, learner)
    prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
    batches = data.image_batches(
        run,
        train.to(run.device),
        prepare=prepare,
        batch_size=schedule.batch_size,
        augment=transforms.compose(schedule.augmentation),
    )
    validate, validated = _validation(task, params, learner, terms, prepare)
    Trainer(run, learner, schedule).fit(batches, _Loss(params, learner, terms), validate)
    transfer = student.report | {"teachers": _teachers_report(task, params, classes)}
    return Adapted(learner, student.spec, params, LabelUse(used, validated), transfer)


class _Loss:
    """(1 − w)·mean of the teachers' T²·KL + w·cross-entropy on those images of the batch that have a label."""

    def __init__(self, params: DistilEnsemble, learner: Classifier, terms: list[Term]) -> None:
        self._weight, self._smoothing = params.label_weight, params.label_smoothing
        self._learner, self._terms = learner, terms

    def __call__(self, batch: Batch, moment: Moment) -> Losses:
        outputs = self._learner.forward(batch.x)
        from_teachers = agreement(self._terms, batch, outputs)
        if not self._weight:
            return {"loss": from_teachers}
        on_labels = self._on_labels(outputs.logits_BK, batch.y_B)
        loss = (1 - self._weight) * from_teachers + self._weight * on_labels
        return {"loss": loss, "distillation": from_teachers, "cross_entropy": on_labels}

    def _on_labels(self, logits_BK: Tensor, y_B: Tensor) -> Tensor:
        """0 where no image has one."""
        summed = F.cross_entropy(logits_BK, y_B, ignore_index=-1, reduction="sum", label_smoothing=self._smoothing)
        return summed / (y_B >= 0).sum().clamp(min=1)


def agreement(terms: list[Term], batch: Batch, outputs: Outputs) -> Tensor:
    """The mean of the teachers' terms."""
    return torch.stack([term(batch, outputs) for term in terms]).mean()


def _classes(task: Task, params: DistilEnsemble) -> list[str]:
    spaces = [task.teachers[id_].classes or [] for id_ in params.teachers]
    for id_, space in zip(params.teachers, spaces, strict=True):
        if not space:
            raise Failure("does_not_fit", f"Classes are matched by name, and those of {id_} have no names.")
    classes = task.target.classes or union(spaces)
    reason = untold(classes, spaces)
    if reason and not params.label_weight:
        raise Failure("does_not_fit", f"Without labels (`label_weight`) the classes cannot all be learnt: {reason}.")
    return classes


def _student(task: Task, params: DistilEnsemble, classes: list[str]) -> _Student:
    if params.network is None:
        begun = transferred.start(task, None, classes)
        return _Student(begun.spec, begun.learner, begun.report)
    input = params.input or inputs.default(params.network, task.target, task.run)
    if params.network.num_classes != len(classes):
        counts = f"{params.network.num_classes} classes, and there are {len(classes)} to learn"
        raise Failure("does_not_fit", f"The student's network has {counts}.")
    network = build.build(params.network, input)
    learner = Classifier(network, Structure.of(network, input), input, classes)
    device.place(network, task.run.device)
    adapters = transferred.adapters(task.target, input)
    return _Student(params.network, learner, TransferReport(tensors=TensorReport(), head="new", adapters=adapters))


def _training(task: Task, params: DistilEnsemble, learner: Classifier) -> tuple[Images, int]:
    """All training images, and how many of their labels are used: the rest is −1, whatever the dataset has."""
    target = task.target
    rows = target.images.rows("train")
    label_N = np.full(len(rows), -1, np.int64)
    if params.label_weight:
        labelled_N = np.isin(rows, target.within(target.labelled("train"), params, task.run.seed))
        place_K = np.array([(learner.classes or []).index(name) for name in target.classes])
        label_N[labelled_N] = place_K[target.images.label[rows[labelled_N]]]
    return target.pictures(rows, learner.input, torch.from_numpy(label_N)), int((label_N >= 0).sum())


def _terms(task: Task, params: DistilEnsemble, learner: Classifier) -> list[Term]:
    def teacher(id_: str | None) -> Classifier:
        return transferred.frozen(task.teachers[str(id_)], task.run.device)

    setting = Setting(student=learner, source=None, teacher=teacher, examples=lambda: iter(()))
    return [
        distillation.build(Distillation(teacher=id_, temperature=params.temperature), setting)
        for id_ in params.teachers
    ]


def _validation(
    task: Task, params: DistilEnsemble, learner: Classifier, terms: list[Term], prepare: Prepare
) -> tuple[Callable[[], Validation] | None, int]:
    """The validation that chooses the weights, and how many labels it reads."""
    target, run = task.target, task.run
    if params.selection == "target_validation":
        rows = target.within(target.labelled("validation"), params, run.seed)
        images = target.examples(rows, learner.input, learner.classes or []).to(run.device)
        if not len(images):
            raise Failure("does_not_fit", "`selection` is by validation labels, and the target has none.")
        return evaluate.validator(run, learner.module, lambda: evaluate.image_batches(run, images, prepare)), len(rows)
    rows = target.images.rows("validation")
    if params.selection == "last" or not len(rows):
        return None, 0
    images = target.unlabelled(rows, learner.input).to(run.device)
    return lambda: _agreed(run, learner, terms, images, prepare), 0


def _agreed(run: Run, learner: Classifier, terms: list[Term], images: Images, prepare: Prepare) -> Validation:
    total = torch.zeros((), dtype=torch.float64, device=run.device)
    with torch.inference_mode():
        for x_BCHW, y_B in evaluate.image_batches(run, images, prepare):
            batch = Batch(x_BCHW, y_B, y_B)
            total += len(batch) * agreement(terms, batch, learner.forward(x_BCHW))
    mean = float(total) / len(images)
    return Validation({"loss": mean}, (-mean,))


def _teachers_report(task: Task, params: DistilEnsemble, classes: list[str]) -> list[dict[str, object]]:
    return [
        {"id": id_, "classes": sum(name in classes for name in task.teachers[id_].classes or ())}
        for id_ in params.teachers
    ]
