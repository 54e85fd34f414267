"""Images to label next: those unlike any that has a label while there are few, those in doubt once there are many."""

import numpy as np
from numpy.typing import NDArray

from app.contract.recommendation import LabelRule
from worker.choosing import ridge
from worker.choosing.evidence import ChosenRows
from worker.choosing.scores import Floats, Indices, Undefined
from worker.methods.task import Domain

MANY = 200  # labelled images from which those in doubt teach more than those unlike the rest


def unread(domain: Domain, labels: int | None, read: ChosenRows, images: int, seed: int) -> ChosenRows:
    """Images of the training split, at most `images`, whose labels were not read: they have none, or are beyond the
    budget of `labels` a class."""
    rows = domain.images.rows("train")
    rows = rows[domain.images.label[rows] < 0] if labels is None else np.setdiff1d(rows, _with_label(read))
    place = np.sort(np.random.default_rng(seed).permutation(rows)[:images])
    return ChosenRows(place, np.full(len(place), -1, np.int64))


def order(x_ND: Floats, known_MD: Floats, y_M: Indices, most: int) -> tuple[LabelRule, Indices]:
    """The rule, and the places of up to `most` images in the order of what their labels are worth; `known_MD` are
    features of images with the labels y_M."""
    if len(y_M) >= MANY:
        try:
            return "margin", ridge.margins(known_MD, y_M, x_ND).argsort(kind="stable")[:most]
        except Undefined:
            pass
    return "coreset", coreset(x_ND, known_MD, most)


def coreset(x_ND: Floats, known_MD: Floats, most: int) -> Indices:
    """Places of up to `most` images, each the farthest from all that are known or were chosen before it.

    The greedy k-centre of Sener & Savarese 2018, Active learning for convolutional neural networks: a core-set
    approach.  Where nothing is known the first is the one nearest the mean.
    """
    nearest_N = np.full(len(x_ND), np.inf)
    for known_D in known_MD:
        nearest_N = np.minimum(nearest_N, _distance(x_ND, known_D))
    chosen: list[int] = []
    while len(chosen) < min(most, len(x_ND)):
        known = len(known_MD) or chosen
        place = int(nearest_N.argmax() if known else _distance(x_ND, x_ND.mean(0)).argmin())
        chosen.append(place)
        nearest_N = np.minimum(nearest_N, _distance(x_ND, x_ND[place]))
        nearest_N[place] = -1.0  # also of two that are alike each is chosen once
    return np.array(chosen, np.int64)


def _with_label(rows: ChosenRows) -> NDArray[np.int64]:
    return rows.place_N[rows.label_N >= 0]


def _distance(x_ND: Floats, to_D: Floats) -> Floats:
    return np.asarray(((x_ND - to_D) ** 2).sum(1), np.float64)
