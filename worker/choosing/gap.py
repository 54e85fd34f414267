"""The gap between two domains, by what a network makes of their images."""

import numpy as np

from worker.choosing.scores import TINY, Floats, Undefined


def proxy_a(source_ND: Floats, target_MD: Floats, seed: int = 0) -> float:
    """2 (1 − 2ε), ε the error of a linear classifier of the domains on images that it has not seen: 0 where they cannot
    be told apart, 2 where they always can (Ben-David et al. 2010)."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    count = min(len(source_ND), len(target_MD))
    if count < 4:
        raise Undefined("there are fewer than four images of a domain")
    random = np.random.default_rng(seed)
    x = np.concatenate([one[random.permutation(len(one))[:count]] for one in (source_ND, target_MD)])
    domain = np.repeat([0, 1], count)
    spread = x.std(0)
    x = (x - x.mean(0)) / np.where(spread > TINY, spread, 1.0)
    folds = StratifiedKFold(min(5, count), shuffle=True, random_state=seed)
    error = float((cross_val_predict(RidgeClassifier(alpha=float(x.shape[1])), x, domain, cv=folds) != domain).mean())
    return 2 * (1 - 2 * min(error, 0.5))


def mmd(source_ND: Floats, target_MD: Floats) -> float:
    """The unbiased square of the maximum mean discrepancy, under a Gaussian as wide as the median squared distance
    (Gretton et al. 2012); may be a little below 0."""
    n, m = len(source_ND), len(target_MD)
    if n < 2 or m < 2:
        raise Undefined("there are fewer than two images of a domain")
    x = np.concatenate([source_ND, target_MD])
    length = (x**2).sum(1)
    distance = np.maximum(length[:, None] + length[None, :] - 2 * x @ x.T, 0.0)
    width = np.median(distance[np.triu_indices(len(x), 1)])
    if width <= TINY:
        raise Undefined("all features are alike")
    kernel = np.exp(-distance / width)
    np.fill_diagonal(kernel, 1.0)
    within = (kernel[:n, :n].sum() - n) / (n * (n - 1)) + (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return float(within - 2 * kernel[:n, n:].mean())


def coral(source_ND: Floats, target_MD: Floats) -> float:
    """‖C_s − C_t‖² / 4D² of the covariances (Sun & Saenko 2016)."""
    if len(source_ND) < 2 or len(target_MD) < 2:
        raise Undefined("there are fewer than two images of a domain")
    difference = np.cov(source_ND, rowvar=False) - np.cov(target_MD, rowvar=False)
    return float((np.atleast_2d(difference) ** 2).sum() / (4 * source_ND.shape[1] ** 2))
