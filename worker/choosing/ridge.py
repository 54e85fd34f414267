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
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import StratifiedKFold

    classes, counts = np.unique(y_N, return_counts=True)
    if len(classes) < 2:
        raise Undefined("the images are all of one class")
    if counts.min() < 2:
        raise Undefined("a class has a single image: none is left to judge by")
    hit_N = np.zeros(len(y_N), np.bool_)
    target_NC = 2.0 * (y_N[:, None] == classes[None, :]) - 1.0
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    for learn, held in folds.split(x_ND, y_N):
        mean_D = x_ND[learn].mean(0)
        x = x_ND[learn] - mean_D
        size = float((x**2).sum(1).mean())
        if size <= TINY:
            raise Undefined("all features are alike")
        ridge = RidgeCV(alphas=[strength * size for strength in STRENGTHS]).fit(x, target_NC[learn])
        hit_N[held] = classes[ridge.predict(x_ND[held] - mean_D).argmax(1)] == y_N[held]
    return hit_N
