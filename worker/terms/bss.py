"""Batch spectral shrinkage: give up the weakest directions of the features (Chen et al. 2019, eq. 4)."""

import torch
from torch import Tensor

from app.methods.terms.bss import Bss
from worker.data.batches import Batch
from worker.networks.classifier import Outputs
from worker.terms.base import Setting, TermDefaults


class _Bss(TermDefaults):
    def __init__(self, k: int) -> None:
        self._k = k

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        features_BD = outputs.features_BD
        wide = torch.promote_types(features_BD.dtype, torch.float32)  # no factorisation is in half precision
        sigma_R = torch.linalg.svdvals(features_BD.to(wide))
        value: Tensor = sigma_R[-self._k :].square().sum()
        return value


def build(params: Bss, setting: Setting) -> _Bss:
    return _Bss(params.k)
