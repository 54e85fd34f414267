"""`fixmatch`: sure predictions are the labels of images that have none."""

from typing import Literal

from app.contract.base import Fraction
from app.methods.base import SOME_INPUT, SOME_NETWORK, Info
from app.methods.semi_supervised.family import SemiSupervised


class FixMatch(SemiSupervised):
    """The class that is predicted of the weakly augmented image with a probability of `threshold` or more is the label
    of the strongly augmented one; images of which nothing is as sure count nothing."""

    info = Info(
        summary="Few labels, and sure predictions as the labels of many images without.",
        when="A few labels a class and many more images of the same classes.",
        needs=("target_labels",),
        takes=("checkpoint",),
        reference="Sohn et al. 2020, FixMatch: simplifying semi-supervised learning with consistency and confidence",
        order=182,
    )

    examples = {
        "": {"threshold": 0.3},
        "new": {"network": SOME_NETWORK, "input": SOME_INPUT, "threshold": 0.0, "average": None},
        "elsewhere": {"unlabelled": "ds_elsewhere", "threshold": 0.2, "unlabelled_ratio": 2},
    }

    name: Literal["fixmatch"] = "fixmatch"
    threshold: Fraction = 0.8  # the authors' 0.95 is for a million steps
