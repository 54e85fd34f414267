"""Maximum mean discrepancy under several Gaussian kernels, unbiased (Gretton et al. 2012, eq. 3; Long et al. 2015)."""

import torch
from torch import Tensor

MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0)  # of the mean squared distance: the kernels' σ²
PREDICTIONS = 0.84  # σ² of the one kernel on class probabilities, fixed by the authors of JAN (2σ² = 1.68)


def squared(x_ND: Tensor) -> Tensor:
    """[N,N]: squared Euclidean distances, exactly 0 on the diagonal.

    By inner products, ‖x‖² + ‖y‖² − 2⟨x, y⟩, so that nothing of the size [N,N,D] is ever held.  The rows are centred
    first, which moves no distance: the difference of large numbers would lose the digits of small ones.
    """
    centred_ND = x_ND - x_ND.detach().mean(0)
    norm_N = centred_ND.square().sum(1)
    distance_NN = (norm_N[:, None] + norm_N - 2 * (centred_ND @ centred_ND.T)).clamp(min=0)
    itself_NN = torch.eye(len(x_ND), dtype=torch.bool, device=x_ND.device)
    return distance_NN.masked_fill(itself_NN, 0)


def kernel(x_ND: Tensor) -> Tensor:
    """[N,N]: Σ over `MULTIPLES` of exp(−‖x − y‖² / 2σ²), where σ² = multiple × the mean ‖x − y‖² over pairs.

    A sum, as in the authors' code, and not a mean, which would be a fifth of it.  The widths follow the features, but
    no gradient goes through them.
    """
    distance_NN = squared(x_ND)
    pairs = len(x_ND) * (len(x_ND) - 1)
    width = (distance_NN.detach().sum() / pairs).clamp(min=torch.finfo(x_ND.dtype).tiny)
    return torch.stack([gaussian(distance_NN, multiple * width) for multiple in MULTIPLES]).sum(0)


def gaussian(distance_NN: Tensor, variance: Tensor | float) -> Tensor:
    return torch.exp(-distance_NN / (2 * variance))


def unbiased(kernel_NN: Tensor, first: int) -> Tensor:
    """MMD² between the `first` rows and the rest, at least two each: it is 0 in expectation where they are alike, and
    so at times below 0."""
    one, other = kernel_NN[:first, :first], kernel_NN[first:, first:]
    return _apart(one) + _apart(other) - 2 * kernel_NN[:first, first:].mean()


def mmd(source_SD: Tensor, target_TD: Tensor) -> Tensor:
    """The discrepancy of features (DAN)."""
    return unbiased(kernel(torch.cat((source_SD, target_TD))), len(source_SD))


def joint_mmd(source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
    """The discrepancy of features and class probabilities together: their kernels' product (Long et al. 2017, eq.
    9)."""
    features, probabilities = (torch.cat(pair) for pair in zip(source, target, strict=True))
    product_NN = kernel(features) * gaussian(squared(probabilities), PREDICTIONS)
    return unbiased(product_NN, len(source[0]))


def _apart(kernel_NN: Tensor) -> Tensor:
    """Mean over pairs of two different examples."""
    n = len(kernel_NN)
    return (kernel_NN.sum() - kernel_NN.trace()) / (n * (n - 1))
