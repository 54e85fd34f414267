"""Predictions and embeddings."""

import base64
import binascii
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.api.schemas.common import Shape
from app.contract.base import StrictModel

MAX_IMAGES = 1000
BASE64 = (  # of whole groups of four; a data URL's beginning is no part of them
    r"^\s*(data:[^,;]{0,100}(;[^,;]{0,100}){0,8};base64,)?\s*"
    r"(([A-Za-z0-9+/]\s*){4})*(([A-Za-z0-9+/]\s*){2}(=\s*){2}|([A-Za-z0-9+/]\s*){3}=\s*)?$"
)
_PREFIX = re.compile(r"\s*data:[^,;]{0,100}(?:;[^,;]{0,100}){0,8};base64,", re.IGNORECASE)  # of a data URL


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("must be an image file in base64")
    prefix = _PREFIX.match(text)
    try:
        return base64.b64decode("".join(text[prefix.end() if prefix else 0 :].split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"is no base64: {error}") from None


_Base64 = Annotated[str, Field(min_length=4, json_schema_extra={"contentEncoding": "base64", "pattern": BASE64})]


class Images(StrictModel):
    """Image files (JPEG, PNG, WebP, BMP, GIF, TIFF) in base64, whose lines may be wrapped, or as data URLs."""

    images: Annotated[
        list[Annotated[bytes, BeforeValidator(_decoded, json_schema_input_type=_Base64)]],
        Field(min_length=1, max_length=MAX_IMAGES),
    ]


class Score(Shape):
    label: str
    probability: float


class Unusual(Shape):
    """The place of an image among those that the network knows, by how unlike them it is.

    `energy`: −log Σ exp(zₖ) over the logits (of several labels −Σ log(1 + exp(zₖ))), the higher the more unusual.
    `quantile`: the share of the validation images of its training that are less so.
    """

    energy: float
    quantile: float


class Prediction(Shape):
    """The prediction for the image with this index in the request: the likeliest class, and the likeliest `top_k`.

    `labels` are those of at least even odds, where an image has any number of labels; elsewhere it is left out.
    `out_of_distribution` is left out where the network has no `reference` of energies, and of `adapt`.
    """

    index: int
    label: str
    probability: float
    labels: list[str] | None = None
    out_of_distribution: Unusual | None = None
    top: list[Score]


class Adaptation(Shape):
    """The state of a network that adapts to the images it is asked about.

    `steps` since it began (anew), on `images`; `entropy` of its last batch, in nats.  Up to 15 images of small requests
    are `waiting` to be enough for a step.  Where its predictions collapse to few classes it begins anew: `collapses`.
    """

    steps: int
    images: int
    entropy: float | None
    waiting: int
    collapses: int


class UsedPriors(Shape):
    """The shares of the classes that probabilities were corrected for, and those of the `reference` that they went by
    before; `estimated` from so many `images`, or as the request gave them."""

    estimated: bool
    images: int
    reference: dict[str, float]
    shares: dict[str, float]


class Predictions(Shape):
    """Predictions in the order in which the images were sent; `adaptation` and `priors` where that was asked for."""

    object: Literal["list"] = "list"
    data: list[Prediction]
    adaptation: Adaptation | None = None
    priors: UsedPriors | None = None


class Embedding(Shape):
    index: int
    embedding: list[float]


class Embeddings(Shape):
    """Features that the head sees, in the order in which the images were sent."""

    object: Literal["list"] = "list"
    data: list[Embedding]
