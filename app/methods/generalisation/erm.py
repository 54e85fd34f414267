"""`erm`: the mean risk over all environments."""

from typing import Literal

from app.methods.base import SOME_INPUT, SOME_NETWORK, Info
from app.methods.generalisation.family import Generalisation


class Erm(Generalisation):
    """Empirical risk minimisation over all environments, with the parameters of `Generalisation`."""

    info = Info(
        summary="Several labelled datasets together, for images that are like none of them.",
        when="The baseline for several labelled datasets, and often as good as the methods that are made for them.",
        needs=("environments",),
        takes=("checkpoint",),
        reference="Gulrajani & Lopez-Paz 2021, In search of lost domain generalization",
        order=190,
    )

    examples = {
        "": {"network": SOME_NETWORK, "input": SOME_INPUT, "environments": ["ds_here", "ds_there"]},
        "on": {"environments": ["ds_here", "ds_there", "ds_yonder"], "leave_one_out": True},
        "swad": {"environments": ["ds_here", "ds_there"], "swad": {"optimum_patience": 2}, "selection": "last"},
    }

    name: Literal["erm"] = "erm"
