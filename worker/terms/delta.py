"""DELTA without attention: stay near what the source's layers make of an image (Li et al. 2019, eq. 4 and 6).

Every channel counts alike; the paper weighs each by how much worse the source does without it.
"""

import torch
from torch import Tensor

from app.methods.terms.delta import Delta
from worker.data.batches import Batch
from worker.networks.classifier import Classifier, Outputs
from worker.runtime.contract import Failure
from worker.terms.base import Setting, TermDefaults, correspondence, maps, squared_norm

STAGES = 2  # the last so many, unless layers are named


class _Delta(TermDefaults):
    def __init__(self, source: Classifier, student: Classifier, layers: list[str], head: float) -> None:
        self._source, self._student, self.watches = source, student, layers
        self._head, (_, self._new) = head, correspondence(student, source)

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        there = self._source.forward_frozen(batch.x, self._student.input, self.watches)
        distances = [distance(outputs.watched[layer], there.watched[layer]) for layer in self.watches]
        return torch.stack(distances).sum() + 0.5 * self._head * squared_norm(self._new, batch.x.device)


def distance(one: Tensor, other: Tensor) -> Tensor:
    """The squared distance, over channels summed, over places and images averaged: (1/BP) Σ ‖a − b‖²."""
    return (maps(one) - maps(other)).square().sum(1).mean()


def build(params: Delta, setting: Setting) -> _Delta:
    if setting.source is None:
        raise Failure("does_not_fit", "`delta` compares features with the source's, and this job has no source.")
    layers = params.layers or setting.student.ends[-STAGES:]
    modules = dict(setting.source.module.named_modules())
    unknown = [layer for layer in layers if layer not in modules]
    if unknown:
        raise Failure("does_not_fit", f"The network has no module {unknown[0]} for `delta` to look at.")
    return _Delta(setting.source, setting.student, layers, params.head)
