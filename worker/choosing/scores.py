"""Transferability scores: how well a target's classes can be told by a frozen network, before any training.

All take labels y_N (int64, classes of which some may have no image) and features x_ND or probabilities p_NZ, float64.
A score that has no meaning for what it is given says so by `Undefined`: none is ever NaN.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

KEPT = 0.8  # of the variance, in the principal components that a mixture is fitted to
PER_CLASS = 5  # Gaussians
TINY = 1e-12


class Undefined(Exception):
    """The score has no meaning here; the message says why."""


def log_me(x_ND: Floats, y_N: Indices) -> float:
    """The mean over classes and images of the greatest log evidence of a Bayesian linear regression of each class.

    You et al. 2021, LogME: practical assessment of pre-trained models for transfer learning; the fixed point for α (of
    the weights) and β (of the noise) on the singular values of the features.  To be compared at equal N and C alone.
    """
    member_NC = _membership(y_N)
    images, width = x_ND.shape
    basis_NR, singular_R, _ = np.linalg.svd(x_ND, full_matrices=False)
    square_R = singular_R**2
    if square_R.max(initial=0) <= TINY:
        raise Undefined("all features are zero")
    evidence = [_evidence(square_R, basis_NR.T @ t_N, float(t_N @ t_N), images, width) for t_N in member_NC.T]
    return sum(evidence) / len(evidence) / len(y_N)


def _evidence(square_R: Floats, target_R: Floats, whole: float, images: int, width: int) -> float:
    """The log evidence at the fixed point; `target_R` is the target in the basis of the features, `whole` its squared
    length."""
    energy_R = target_R**2
    outside = max(whole - float(energy_R.sum()), 0.0)

    def left(ratio: float) -> tuple[float, float]:
        """The squared lengths of the weights and of the residual at α/β."""
        weights = float((square_R * energy_R / (square_R + ratio) ** 2).sum())
        return weights, float((energy_R * (ratio / (square_R + ratio)) ** 2).sum()) + outside

    alpha = beta = 1.0
    for _ in range(200):
        ratio = alpha / beta
        effective = float((square_R / (square_R + ratio)).sum())
        weights, residual = left(ratio)
        alpha = max(effective, TINY) / max(weights, TINY)
        beta = max(images - effective, TINY) / max(residual, TINY)
        if abs(alpha / beta - ratio) <= 1e-6 * ratio:
            break
    weights, residual = left(alpha / beta)
    curvature = float(np.log(alpha + beta * square_R).sum()) + (width - len(square_R)) * np.log(alpha)
    fit = beta * residual + alpha * weights
    return float(width * np.log(alpha) + images * np.log(beta / (2 * np.pi)) - fit - curvature) / 2


def h_score(x_ND: Floats, y_N: Indices) -> float:
    """tr(Σ⁻¹ (1 − a) Σ_B): how much of the features' variance, as Ledoit and Wolf shrink it by a, lies between classes.

    Bao et al. 2019, with the shrinkage of Ibrahim et al. 2021, Newer is not always better.
    """
    from sklearn.covariance import ledoit_wolf

    member_NC = _membership(y_N)
    centred_ND = x_ND - x_ND.mean(0)
    if np.abs(centred_ND).max() <= TINY:
        raise Undefined("the features of all images are alike")
    covariance_DD, shrinkage = ledoit_wolf(centred_ND, assume_centered=True)
    mean_CD = (member_NC.T @ centred_ND) / member_NC.sum(0)[:, None]
    between_DD = (mean_CD.T * member_NC.mean(0)) @ mean_CD
    return float((1 - shrinkage) * np.trace(np.linalg.pinv(covariance_DD, hermitian=True) @ between_DD))


def leep(p_NZ: Floats, y_N: Indices) -> float:
    """mean log Σ_z P(y|z) p(z|x) over the Z classes of the source; those that no image has any of say nothing.

    Nguyen et al. 2020, LEEP: a new measure to evaluate transferability of learned representations.
    """
    member_NC = _membership(y_N)
    joint_CZ = member_NC.T @ p_NZ / len(y_N)
    marginal_Z = joint_CZ.sum(0)
    there_Z = marginal_Z > TINY
    given_CZ = joint_CZ[:, there_Z] / marginal_Z[there_Z]
    expected_N = (p_NZ[:, there_Z] * given_CZ[member_NC.argmax(1)]).sum(1)
    return float(np.log(np.maximum(expected_N, TINY)).mean())


def n_leep(x_ND: Floats, y_N: Indices, seed: int = 0) -> float:
    """`leep` of the components of a Gaussian mixture, five a class, on the principal components of the features.

    Li et al. 2021, Ranking neural checkpoints; here with diagonal covariances, of at most one component for two images.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    classes = _membership(y_N).shape[1]
    if len(y_N) < 2 * classes or np.ptp(x_ND, axis=0).max() <= TINY:
        raise Undefined("there are fewer than two images a class, or all features are alike")
    reduced = PCA(n_components=KEPT, svd_solver="full").fit_transform(x_ND)
    components = min(PER_CLASS * classes, len(np.unique(reduced, axis=0)) // 2)
    if components < 2:
        raise Undefined("too few images differ")
    least = 1e-3 * float(reduced.var(0).mean())
    mixture = GaussianMixture(components, covariance_type="diag", random_state=seed, reg_covar=least)
    return leep(mixture.fit(reduced).predict_proba(reduced), y_N)


def nce(p_NZ: Floats, y_N: Indices) -> float:
    """−H(Y|Z), Z the class of the source that is the most probable (Tran, Nguyen & Hassner 2019)."""
    joint_CZ = _membership(y_N).T @ np.eye(p_NZ.shape[1])[p_NZ.argmax(1)] / len(y_N)
    marginal_Z = joint_CZ.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms_CZ = np.where(joint_CZ > 0, joint_CZ * np.log(joint_CZ / marginal_Z), 0.0)
    return float(terms_CZ.sum())


def parc(x_ND: Floats, y_N: Indices) -> float:
    """Spearman's correlation of the images' distances in features with those in labels, both 1 − Pearson's r.

    Bolya, Mittapalli & Hoffman 2021, Scalable diverse model selection for accessible transfer learning.
    """
    from scipy.stats import spearmanr

    _membership(y_N)
    varied_N = np.ptp(x_ND, axis=1) > TINY
    if varied_N.sum() < 3 or len(np.unique(y_N[varied_N])) < 2:
        raise Undefined("the features of an image are all alike")
    below = np.tril_indices(int(varied_N.sum()), -1)
    distance = 1 - np.corrcoef(x_ND[varied_N])[below]
    unlike = (y_N[varied_N][:, None] != y_N[varied_N][None, :])[below].astype(float)
    if np.ptp(distance) <= TINY or np.ptp(unlike) == 0:
        raise Undefined("all images are equally far from each other")
    return float(spearmanr(distance, unlike).statistic)


def nearest(x_ND: Floats, y_N: Indices) -> float:
    """The share of the images whose nearest other, by cosine, is of their class (leave-one-out 1-NN)."""
    _membership(y_N)
    length_N = np.linalg.norm(x_ND, axis=1)
    if length_N.max(initial=0) <= TINY:
        raise Undefined("all features are zero")
    unit_ND = x_ND / np.maximum(length_N, TINY)[:, None]
    similarity_NN = unit_ND @ unit_ND.T
    np.fill_diagonal(similarity_NN, -np.inf)
    return float((y_N[similarity_NN.argmax(1)] == y_N).mean())


def _membership(y_N: Indices) -> Floats:
    """[N,C], 1 for each image's class, over the classes that have an image."""
    classes, place_N = np.unique(y_N, return_inverse=True)
    if len(classes) < 2:
        raise Undefined("the images are all of one class")
    return np.eye(len(classes))[place_N]
