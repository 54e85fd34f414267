"""`erm`: the mean risk over all environments."""

from typing import Literal

from app.methods.base import Info
from app.methods.generalisation.family import Generalisation


class Erm(Generalisation):
    """See `Generalisation`."""

    info = Info(
        summary="Several labelled datasets together, for images that are like none of them.",
        when="The baseline of the next four, and often as good as they are.",
        needs=("environments",),
        takes=("checkpoint",),
        reference="Gulrajani & Lopez-Paz 2021, In search of lost domain generalization",
        order=190,
    )

    name: Literal["erm"] = "erm"
