"""`erm`: the mean risk over all environments."""

from typing import Literal

from app.methods.generalisation.family import Generalisation


class Erm(Generalisation):
    """See `Generalisation`."""

    name: Literal["erm"] = "erm"
