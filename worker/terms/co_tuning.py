"""Co-Tuning (You et al. 2020): target classes in terms of the source's, learned before, are kept in the tuned network.

p(y_s | y_t) is the source's mean posterior over the target class's training images (their direct approach, eq. 3);
the term is the cross-entropy of the source's head, on what becomes of its backbone, with that (eq. 1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.methods.terms.co_tuning import CoTuning
from worker.data.batches import Batch
from worker.networks.classifier import Outputs
from worker.terms import source_head
from worker.terms.base import Setting, TermDefaults


class _CoTuning(TermDefaults):
    def __init__(self, head: nn.Module, relation_TS: Tensor) -> None:
        self.module, self._head, self._relation_TS = head, head, relation_TS

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        log_p_BS = F.log_softmax(source_head.logits(self._head, outputs.features_BD), dim=1)
        return -(self._wanted(batch) * log_p_BS).sum(1).mean()

    def _wanted(self, batch: Batch) -> Tensor:
        """[B,S]: what the source's head is to say of each image; of a mixed one, the mixture of what it is to say of
        both, as L has the mixture of both labels."""
        own_BS = self._relation_TS[batch.y_B]
        if batch.partner_y_B is None or batch.share == 1.0:
            return own_BS
        return batch.share * own_BS + (1 - batch.share) * self._relation_TS[batch.partner_y_B]


def build(params: CoTuning, setting: Setting) -> _CoTuning:
    head = source_head.of(setting, params.name)
    return _CoTuning(head, relation(setting))


def relation(setting: Setting) -> Tensor:
    """[T,S]: row t is the source's mean posterior over the training images of target class t; uniform without any."""
    source, student = setting.source, setting.student
    assert source is not None
    assert student.classes is not None
    posteriors, labels = [], []
    for x, y_B in setting.examples():
        posteriors.append(source.forward_frozen(x, student.input).logits_BK.softmax(1))
        labels.append(y_B)
    posterior_NS, label_N = torch.cat(posteriors), torch.cat(labels)
    one_hot_NT = F.one_hot(label_N, len(student.classes)).to(posterior_NS.dtype)
    count_T1 = one_hot_NT.sum(0)[:, None]
    mean_TS = one_hot_NT.T @ posterior_NS / count_T1.clamp(min=1)
    return torch.where(count_T1 > 0, mean_TS, torch.full_like(mean_TS, 1 / mean_TS.shape[1]))
