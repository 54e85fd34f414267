"""`ssf`: scales and shifts of what frozen layers give, and a new head."""

from typing import Literal

from app.methods.base import Info
from app.methods.supervised.family import ParameterEfficient


class Ssf(ParameterEfficient):
    """γ·y + β for what every linear layer, convolution, attention's projection and norm gives, with γ and β learned
    for each channel (Lian et al. 2022, eq. 3).

    The source's weights and statistics stay as they are; what comes out has γ and β merged into them, and is the
    source's network with other numbers.  A layer that adds nothing (no bias) has no β either.
    """

    info = Info(
        summary="Scales and shifts of what frozen layers give, and a new head.",
        when="Few labels, or transformers whose features are nearly right: hardly any numbers are learned, and what "
        "comes out is as fast as the source.",
        needs=("checkpoint", "target_labels"),
        reference="Lian et al. 2022, Scaling & shifting your features: a new baseline for efficient model tuning",
        multi_label=True,
        order=62,
    )

    examples = {"": {}, "averaged": {"average": 0.9, "augmentation": "none", "head_start": "probe"}}

    name: Literal["ssf"] = "ssf"
