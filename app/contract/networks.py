"""A network named in a request."""

from typing import Annotated

from pydantic import Field

from app.contract.base import FreeDocument, StrictModel

TORCHVISION, TIMM = "torchvision/", "timm/"  # what the names of their networks begin with


class NetworkSpec(StrictModel):
    """`torchvision/<name>`, `timm/<name>`, `cnn3`, `layers`, or a plug-in's name; `options` go to its builder, which
    refuses what makes no network.

    `GET /v1/networks` lists the names, and the options that each takes.
    """

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_./-]+$")]
    num_classes: Annotated[int, Field(ge=1, le=100_000)]
    options: FreeDocument = {}

    @property
    def of_library(self) -> bool:
        """Tell whether it is a network of torchvision or timm, most of which take images of any size."""
        return self.name.startswith((TORCHVISION, TIMM))
