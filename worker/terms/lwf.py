"""Learning without forgetting (Li & Hoiem 2017, eq. 2): the source's head still says what the source said."""

from torch import Tensor, nn

from app.methods.terms.lwf import Lwf
from worker.data.batches import Batch
from worker.networks.classifier import Classifier, Outputs
from worker.terms import source_head
from worker.terms.base import Setting, TermDefaults
from worker.terms.softened import softened_kl


class _Lwf(TermDefaults):
    def __init__(self, params: Lwf, source: Classifier, student: Classifier, head: nn.Module) -> None:
        self._source, self._student, self._temperature = source, student, params.temperature
        self.module, self._head = head, head

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        said_BK = self._source.forward_frozen(batch.x, self._student.input).logits_BK
        return softened_kl(source_head.logits(self._head, outputs.features_BD), said_BK, self._temperature)


def build(params: Lwf, setting: Setting) -> _Lwf:
    head = source_head.of(setting, params.name)
    assert setting.source is not None
    return _Lwf(params, setting.source, setting.student, head)
