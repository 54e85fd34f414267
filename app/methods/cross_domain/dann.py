"""`dann`: features by which no discriminator tells the domains apart."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.cross_domain.family import CrossDomain

Hidden = Annotated[int, Field(ge=1, le=16_384)]


class Dann(CrossDomain):
    """A discriminator with two hidden layers of `hidden` units learns beside the network, whose features get its
    gradient reversed, × `weight` as it has grown so far."""

    name: Literal["dann"] = "dann"
    hidden: Hidden = 256
