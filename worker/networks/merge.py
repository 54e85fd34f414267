"""One network's weights from several of the same shapes: pure functions of tensors by name."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]

RIDGE = 1e-8  # of the inputs' mean energy: where no image shows a direction, RegMean is the plain mean


def mean(members: Sequence[Weights]) -> dict[str, Tensor]:
    """The mean of every tensor; whole numbers (`num_batches_tracked`) have no mean and are the first's."""
    share = 1 / len(members)
    return combined(members, [share] * len(members))


def between(start: Weights, end: Weights, alpha: float) -> dict[str, Tensor]:
    """(1 − α)·start + α·end (Wortsman et al. 2022b, eq. 1); whole numbers are the nearer one's."""
    pair = (start, end) if alpha < 0.5 else (end, start)
    shares = (1 - alpha, alpha) if alpha < 0.5 else (alpha, 1 - alpha)
    return combined(pair, shares)


def combined(members: Sequence[Weights], shares: Sequence[float]) -> dict[str, Tensor]:
    """Σ shareᵢ · memberᵢ, summed in float64; whole numbers are the first's."""
    weights = {}
    for name, first in members[0].items():
        if first.is_floating_point():
            total = torch.zeros_like(first, dtype=torch.float64)
            for member, share in zip(members, shares, strict=True):
                total += share * member[name].double()
            weights[name] = total.to(first.dtype)
        else:
            weights[name] = first.clone()
    return weights


def task_vector(ancestor: Weights, tuned: Weights) -> dict[str, Tensor]:
    """The changes that a tuning has made, float64 (Ilharco et al. 2023, section 2)."""
    return {name: tuned[name].double() - tensor.double() for name, tensor in ancestor.items()}


def total(vectors: Sequence[Weights]) -> dict[str, Tensor]:
    return {name: torch.stack([vector[name] for vector in vectors]).sum(0) for name in vectors[0]}


def add(ancestor: Weights, vector: Weights, scale: float) -> dict[str, Tensor]:
    """ancestor + scale · vector, in the ancestor's types."""
    return {name: (tensor.double() + scale * vector[name]).to(tensor.dtype) for name, tensor in ancestor.items()}


def ties(vectors: Sequence[Weights], keep: float) -> dict[str, Tensor]:
    """The merged task vector of Yadav et al. 2023, algorithm 1: each trimmed, a sign elected for every entry by the
    larger total, and the mean over those entries that have it; 0 where nothing is left or both totals are equal."""
    trimmed = [trim(vector, keep) for vector in vectors]
    merged = {}
    for name in vectors[0]:
        entries = torch.stack([vector[name] for vector in trimmed])
        agreeing = (entries.sign() == entries.sum(0).sign()) & (entries != 0)
        merged[name] = (entries * agreeing).sum(0) / agreeing.sum(0).clamp(min=1)
    return merged


def trim(vector: Weights, keep: float) -> dict[str, Tensor]:
    """All but the share `keep` of its entries that are largest in magnitude, over all tensors together, set to 0.

    Entries as large as the smallest that is kept are kept, too.
    """
    magnitudes = torch.cat([tensor.abs().flatten() for tensor in vector.values()])
    kept = max(1, round(keep * len(magnitudes)))
    least = magnitudes.kthvalue(len(magnitudes) - kept + 1).values
    return {name: torch.where(tensor.abs() >= least, tensor, 0.0) for name, tensor in vector.items()}


def thinned(vector: Weights, drop: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Drop each entry with the probability `drop`, and divide the others by 1 − `drop` (Yu et al. 2024, eq. 1)."""
    return {
        name: tensor * (torch.rand(tensor.shape, generator=generator) >= drop) / (1 - drop)
        for name, tensor in vector.items()
    }


def weighed(members: Sequence[Weights], weights: Sequence[Weights]) -> dict[str, Tensor]:
    """The mean Σ weightᵢ · memberᵢ / Σ weightᵢ, entry by entry, of the tensors that have weights (Matena & Raffel 2022,
    eq. 2).

    An entry that has weight 0 in all is the plain mean.
    """
    merged = {}
    for name in weights[0]:
        weights_M = torch.stack([weight[name] for weight in weights]).double()
        weights_M[:, weights_M.sum(0) == 0] = 1.0
        values_M = torch.stack([member[name] for member in members])
        merged[name] = ((weights_M * values_M).sum(0) / weights_M.sum(0)).to(values_M.dtype)
    return merged


class RegMean:
    """The closed form for one linear map, model by model: W = (Σ Gᵢ)⁻¹ Σ Gᵢ Wᵢ (Jin et al. 2023, eq. 2), G = XᵀX.

    It minimises Σ ‖Xᵢ W − Xᵢ Wᵢ‖².  Off-diagonal entries of G count `off_diagonal` (their section 4.2).
    """

    def __init__(self, off_diagonal: float, first_OD: Tensor) -> None:
        outputs, inputs = first_OD.shape
        self._off_diagonal, self._models = off_diagonal, 0
        self._gram_DD = torch.zeros(inputs, inputs, dtype=torch.float64)
        self._right_DO = torch.zeros(inputs, outputs, dtype=torch.float64)
        self._sum_DO = torch.zeros(inputs, outputs, dtype=torch.float64)

    def add(self, gram_DD: Tensor, weight_OD: Tensor) -> None:
        """One model's inner products of inputs, and its weights as PyTorch holds them, [out, in]; both on the CPU."""
        diagonal_DD = gram_DD.double().diagonal().diag()
        scaled_DD = diagonal_DD + self._off_diagonal * (gram_DD.double() - diagonal_DD)
        weight_DO = weight_OD.double().T
        self._models += 1
        self._gram_DD += scaled_DD
        self._right_DO += scaled_DD @ weight_DO
        self._sum_DO += weight_DO

    def solve(self) -> Tensor:
        """float64 [out, in]."""
        energy = float(self._gram_DD.diagonal().mean()) / self._models
        if energy == 0:
            return (self._sum_DO / self._models).T.contiguous()
        ridge = RIDGE * energy
        left_DD = self._gram_DD + self._models * ridge * torch.eye(len(self._gram_DD), dtype=torch.float64)
        right_DO = self._right_DO + ridge * self._sum_DO
        return torch.cholesky_solve(right_DO, torch.linalg.cholesky(left_DD)).T.contiguous()
