"""L2-SP: stay near the source's weights (Li, Grandvalet & Davoine 2018, eq. 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.methods.terms import L2Sp
from worker.engine.contract import Failure
from worker.engine.data import Batch
from worker.terms.base import Plain, Setting, View


class _L2Sp(Plain):
    def __init__(self, shared: Sequence[tuple[Tensor, Tensor]], new: Sequence[Tensor], head: float) -> None:
        self._shared, self._new, self._head = shared, new, head

    def __call__(self, batch: Batch, view: View) -> Tensor:
        from_source = sum(((w - w0).square().sum() for w, w0 in self._shared), torch.zeros((), device=batch.x.device))
        from_zero = sum((w.square().sum() for w in self._new), torch.zeros_like(from_source))
        return 0.5 * from_source + 0.5 * self._head * from_zero


def build(params: L2Sp, setting: Setting) -> _L2Sp:
    """w₀ is a copy: held by reference it would move with w, and the term be zero for ever."""
    if setting.source is None:
        raise Failure("does_not_fit", "`l2_sp` stays near a source, and there is none.")
    heads = tuple(f"{head}." for head in setting.student.anatomy.heads)
    w0 = dict(setting.source.network.named_parameters())
    shared, new = [], []
    for name, w in setting.student.network.named_parameters():
        if not name.startswith(heads) and name in w0 and w0[name].shape == w.shape:
            shared.append((w, w0[name].detach().clone()))
        else:
            new.append(w)
    return _L2Sp(shared, new, params.head)
