"""L2-SP: stay near the source's weights (Li, Grandvalet & Davoine 2018, eq. 2)."""

from collections.abc import Sequence

from torch import Tensor

from app.methods.terms.l2_sp import L2Sp
from worker.data.batches import Batch
from worker.networks.classifier import Outputs
from worker.runtime.contract import Failure
from worker.terms.base import Setting, TermDefaults, correspondence, squared_norm


class _L2Sp(TermDefaults):
    def __init__(self, shared: Sequence[tuple[Tensor, Tensor]], new: Sequence[Tensor], head: float) -> None:
        self._shared, self._new, self._head = shared, new, head

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        device = batch.x.device
        from_source = squared_norm([w - w0 for w, w0 in self._shared], device)
        return 0.5 * from_source + 0.5 * self._head * squared_norm(self._new, device)


def build(params: L2Sp, setting: Setting) -> _L2Sp:
    """w₀ is a copy: held by reference it would move with w, and the term be zero for ever."""
    if setting.source is None:
        raise Failure("does_not_fit", "`l2_sp` pulls the weights towards the source's, and this job has no source.")
    shared, new = correspondence(setting.student, setting.source)
    return _L2Sp([(w, w0.detach().clone()) for w, w0 in shared], new, params.head)
