"""Hints: the student's features, mapped, are to be the teacher's (Romero et al. 2015, eq. 3)."""

import torch.nn.functional as F
from torch import Tensor, nn

from app.methods.terms.feature_hint import FeatureHint
from worker.data.batches import Batch
from worker.networks.classifier import Classifier, Outputs
from worker.runtime.contract import Failure
from worker.terms.base import Setting, TermDefaults, maps


class _Hint(TermDefaults):
    def __init__(self, teacher: Classifier, student: Classifier, theirs: str, ours: str, mapping: nn.Conv1d) -> None:
        self._teacher, self._student, self._theirs, self._ours = teacher, student, theirs, ours
        self.watches, self.module, self._mapping = [ours], mapping, mapping

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        there = self._teacher.forward_frozen(batch.x, self._student.input, [self._theirs]).watched[self._theirs]
        return F.mse_loss(self._mapping(maps(aligned(outputs.watched[self._ours], there))), maps(there))


def aligned(output: Tensor, like: Tensor) -> Tensor:
    """Maps of the same height and width: the larger is averaged down, the smaller interpolated up."""
    if output.ndim != 4 or like.ndim != 4 or output.shape[2:] == like.shape[2:]:
        return output
    if output.shape[2] >= like.shape[2]:
        return F.adaptive_avg_pool2d(output, (like.shape[2], like.shape[3]))
    return F.interpolate(output, like.shape[2:], mode="bilinear")


def build(params: FeatureHint, setting: Setting) -> _Hint:
    teacher, student = setting.teacher(params.teacher), setting.student
    theirs, ours = params.teacher_layer or teacher.ends[-1], params.layer or student.ends[-1]
    for classifier, layer, param in ((teacher, theirs, "teacher_layer"), (student, ours, "layer")):
        if layer not in dict(classifier.module.named_modules()):
            raise Failure("does_not_fit", f"There is no module {layer}: see `{param}` of `feature_hint`.")
    (x, _) = next(iter(setting.examples()))
    x = x[:2]
    there = teacher.forward_frozen(x, student.input, [theirs]).watched[theirs]
    here = student.forward_frozen(x, student.input, [ours]).watched[ours]
    here = maps(aligned(here, there))
    if here.shape[2] != maps(there).shape[2]:
        raise Failure("does_not_fit", f"`feature_hint` cannot bring {ours} and {theirs} to the same places.")
    mapping = nn.Conv1d(here.shape[1], maps(there).shape[1], 1).to(x.device)
    return _Hint(teacher, student, theirs, ours, mapping)
