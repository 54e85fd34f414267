"""A probe that costs milliseconds: ridge regression of the classes on features, judged on images it has not seen."""

import numpy as np
from numpy.typing import NDArray

from worker.choosing.scores import TINY, Floats, Indices, Undefined

FOLDS = 5
STRENGTHS = tuple(10.0**k for k in range(-4, 4))  # times the mean squared length of the features


def hits(x_ND: Floats, y_N: Indices, seed: int = 0) -> NDArray[np.bool_]:
    """bool [N]: whether each image is taken for its class by a ridge regression on the images of the other folds.

    The strength is chosen within these by their leave-one-out error, so no image has a say in its own prediction.
    """
    from sklearn.model_selection import StratifiedKFold

    classes, counts = np.unique(y_N, return_counts=True)
    if len(classes) < 2:
        raise Undefined("the images are all of one class")
    if counts.min() < 2:
        raise Undefined("a class has a single image: none is left to judge by")
    hit_N = np.zeros(len(y_N), np.bool_)
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    for learn, held in folds.split(x_ND, y_N):
        scores_HC = _scores(x_ND[learn], y_N[learn], classes, x_ND[held])
        hit_N[held] = classes[scores_HC.argmax(1)] == y_N[held]
    return hit_N


def margins(x_ND: Floats, y_N: Indices, other_MD: Floats) -> Floats:
    """Margins [M]: by how much the likeliest class of each of the other images is ahead of the second, for a ridge
    regression on all of x_ND."""
    classes = np.unique(y_N)
    if len(classes) < 2:
        raise Undefined("the images are all of one class")
    scores_MC = np.sort(_scores(x_ND, y_N, classes, other_MD), axis=1)
    return np.asarray(scores_MC[:, -1] - scores_MC[:, -2], np.float64)


def _scores(x_ND: Floats, y_N: Indices, classes: Indices, other_MD: Floats) -> Floats:
    """Scores [M,C] of the other images, for each class."""
    from sklearn.linear_model import RidgeCV

    mean_D = x_ND.mean(0)
    x = x_ND - mean_D
    size = float((x**2).sum(1).mean())
    if size <= TINY:
        raise Undefined("all features are alike")
    target_NC = 2.0 * (y_N[:, None] == classes[None, :]) - 1.0
    ridge = RidgeCV(alphas=[strength * size for strength in STRENGTHS]).fit(x, target_NC)
    return np.asarray(ridge.predict(other_MD - mean_D), np.float64)
