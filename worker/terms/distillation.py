"""Distillation: what a teacher says of all classes, softened (Hinton, Vinyals & Dean 2015)."""

import torch
from torch import Tensor

from app.methods.terms.distillation import Distillation
from worker.data.batches import Batch
from worker.networks.classifier import Classifier, Outputs
from worker.runtime.contract import Failure
from worker.terms.base import Setting, TermDefaults
from worker.terms.softened import softened_kl


class _Distillation(TermDefaults):
    def __init__(
        self, params: Distillation, teacher: Classifier, student: Classifier, pairs: list[tuple[int, int]]
    ) -> None:
        self._teacher, self._student = teacher, student
        self._temperature = params.temperature
        self.label_weight = params.label_weight
        theirs, ours = zip(*pairs, strict=True)
        device = next(student.module.parameters()).device
        self._theirs, self._ours = (torch.tensor(places, device=device) for places in (theirs, ours))

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        teacher_BK = self._teacher.forward_frozen(batch.x, self._student.input).logits_BK
        return softened_kl(outputs.logits_BK[:, self._ours], teacher_BK[:, self._theirs], self._temperature)


def build(params: Distillation, setting: Setting) -> _Distillation:
    teacher, student = setting.teacher(params.teacher), setting.student
    return _Distillation(params, teacher, student, shared_classes(teacher, student))


def shared_classes(teacher: Classifier, student: Classifier) -> list[tuple[int, int]]:
    """Places of the classes that both know by name: (teacher's, student's)."""
    if teacher.classes is None or student.classes is None:
        raise Failure("does_not_fit", "A teacher's classes are matched by name, and its classes have no names.")
    theirs = {name: place for place, name in enumerate(teacher.classes)}
    pairs = [(theirs[name], place) for place, name in enumerate(student.classes) if name in theirs]
    if len(pairs) < 2:
        raise Failure("does_not_fit", "Teacher and student share fewer than two classes by name.")
    return pairs
