"""`coral_dg`: features of the same means and covariances in every environment."""

from typing import Literal

from app.methods.generalisation.family import Generalisation, Weight


class CoralDg(Generalisation):
    """See `Generalisation`."""

    name: Literal["coral_dg"] = "coral_dg"
    weight: Weight = 1.0
