"""`freematch`: thresholds that follow how sure the network is, of each class."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import SOME_INPUT, SOME_NETWORK, Info
from app.methods.semi_supervised.family import SemiSupervised
from app.methods.terms.base import Weight


class FreeMatch(SemiSupervised):
    """The threshold of a class is the mean confidence, times the mean probability of that class over that of the most
    probable one; both are moving averages of decay `momentum_threshold`, that begin with 1/K.

    `fairness` weighs a second term, by which the strongly augmented images are not all of a few classes.
    """

    info = Info(
        summary="Few labels, and as the labels of many images without what is sure for its class and for the time.",
        when="As the other of its family, with fewer labels, or where no one threshold suits all classes.",
        needs=("target_labels",),
        takes=("checkpoint",),
        reference="Wang et al. 2023, FreeMatch: self-adaptive thresholding for semi-supervised learning",
        order=184,
    )

    examples = {
        "": {},
        "new": {"network": SOME_NETWORK, "input": SOME_INPUT, "fairness": 1.0, "momentum_threshold": 0.5},
    }

    name: Literal["freematch"] = "freematch"
    momentum_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.99
    fairness: Weight = 0.01
