"""A network named in a request."""

from typing import Annotated

from pydantic import Field

from app.contract.base import FreeDocument, StrictModel


class NetworkSpec(StrictModel):
    """`torchvision/<name>`, `timm/<name>`, `cnn3`, `layers`, or a plug-in's name; `options` go to its builder, which
    refuses what makes no network.

    `GET /v1/networks` lists the names, and the options that each takes.
    """

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_./-]+$")]
    num_classes: Annotated[int, Field(ge=1, le=100_000)]
    options: FreeDocument = {}
