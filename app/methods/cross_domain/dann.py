"""`dann`: features by which no discriminator tells the domains apart."""

from typing import Literal

from app.methods.base import Info
from app.methods.cross_domain.family import CrossDomain, Hidden


class Dann(CrossDomain):
    """A discriminator with two hidden layers of `hidden` units learns beside the network, whose features get its
    gradient reversed, × `weight` as it has grown so far."""

    info = Info(
        summary="Features by which a discriminator cannot tell labelled source from unlabelled target.",
        when="No target labels, the source's images at hand, and classes about as frequent in both domains.",
        needs=("checkpoint", "source_data"),
        reference="Ganin et al. 2016, Domain-adversarial training of neural networks",
        order=250,
    )

    examples = {"": {}, "separate": {"batch_norm": "separate", "selection": "target_validation"}}

    name: Literal["dann"] = "dann"
    hidden: Hidden = 256
