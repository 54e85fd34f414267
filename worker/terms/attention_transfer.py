"""Attention transfer: look where the teacher looks (Zagoruyko & Komodakis 2017, eq. 2, activation-based)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from app.methods.terms.attention_transfer import AttentionTransfer
from worker.data.batches import Batch
from worker.networks.classifier import Classifier, Outputs
from worker.runtime.contract import Failure
from worker.terms.base import Setting, TermDefaults


class _Attention(TermDefaults):
    def __init__(self, teacher: Classifier, student: Classifier, pairs: Sequence[tuple[str, str]]) -> None:
        self._teacher, self._student, self._pairs = teacher, student, pairs
        self.watches = [ours for _, ours in pairs]

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        watch = [theirs for theirs, _ in self._pairs]
        there = self._teacher.forward_frozen(batch.x, self._student.input, watch).watched
        return torch.stack([gap(outputs.watched[ours], there[theirs]) for theirs, ours in self._pairs]).mean()


def attention(output_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """[B,P]: the mean square over channels, at `size`, scaled to length 1."""
    map_B1HW = output_BCHW.square().mean(1, keepdim=True)
    return F.normalize(F.adaptive_avg_pool2d(map_B1HW, size).flatten(1), dim=1)


def gap(one: Tensor, other: Tensor) -> Tensor:
    """½‖a − b‖² of the two attention maps, mean over images: from 0, where they agree, to 1."""
    size = min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3])
    return 0.5 * (attention(one, size) - attention(other, size)).square().sum(1).mean()


def build(params: AttentionTransfer, setting: Setting) -> _Attention:
    """Stages are paired from the end; those whose output is no map have no attention."""
    teacher, student = setting.teacher(params.teacher), setting.student
    (x, _) = next(iter(setting.examples()))
    theirs = teacher.forward_frozen(x[:2], student.input, teacher.ends).watched
    ours = student.forward_frozen(x[:2], student.input, student.ends).watched
    last_first = (_mapped(teacher, theirs)[::-1], _mapped(student, ours)[::-1])
    pairs = list(zip(*last_first, strict=False))[: params.stages]
    if not pairs:
        raise Failure("does_not_fit", "`attention_transfer` needs stages that give maps, in both networks.")
    return _Attention(teacher, student, pairs)


def _mapped(classifier: Classifier, outputs: Mapping[str, Tensor]) -> list[str]:
    """Ends of stages that give more than a vector."""
    return [path for path in classifier.ends if outputs[path].ndim == 4 and outputs[path][0, 0].numel() > 1]
