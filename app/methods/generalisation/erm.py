"""`erm`: the mean risk over all environments."""

from typing import Literal

from app.methods.base import Info
from app.methods.generalisation.family import Generalisation


class Erm(Generalisation):
    """See `Generalisation`."""

    info = Info(
        summary="Several labelled datasets together, for images that are like none of them.",
        when="The baseline for several labelled datasets, and often as good as the methods that are made for them.",
        needs=("environments",),
        takes=("checkpoint",),
        reference="Gulrajani & Lopez-Paz 2021, In search of lost domain generalization",
        order=190,
    )

    name: Literal["erm"] = "erm"
