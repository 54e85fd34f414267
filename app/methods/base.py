"""What all parameter classes share: parsed at the edge, closed, finite."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_DOCUMENT_CHARS = 256 * 1024
MAX_DOCUMENT_DEPTH = 32
LARGEST_NUMBER = 2**53  # beyond it JSON readers disagree


class Closed(BaseModel):
    """Unknown fields, NaN and infinity are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Parameters(Closed):
    """What a method takes: `name`, and all that a job may say of it."""

    def networks(self) -> dict[str, str]:
        """Checkpoints and models that are named within, by the path of the parameter that names them."""
        return {}

    def datasets(self) -> dict[str, str]:
        """Datasets that are named within, likewise."""
        return {}


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold NUL characters")
    text.encode()  # a lone surrogate is a ValueError
    return text


def _bounded(document: dict[str, Any]) -> dict[str, Any]:
    _plain(document, MAX_DOCUMENT_DEPTH)
    if len(json.dumps(document)) > MAX_DOCUMENT_CHARS:
        raise ValueError(f"must not be longer than {MAX_DOCUMENT_CHARS} characters as JSON")
    return document


def _plain(value: Any, levels: int) -> None:
    if levels == 0:
        raise ValueError(f"must not be nested deeper than {MAX_DOCUMENT_DEPTH} levels")
    match value:
        case dict():
            for key, part in value.items():
                _plain(key, levels - 1)
                _plain(part, levels - 1)
        case list():
            for part in value:
                _plain(part, levels - 1)
        case str():
            _storable(value)
        case int() | float() if not abs(value) <= LARGEST_NUMBER:  # NaN compares false
            raise ValueError("must hold finite numbers of ordinary size only")


Text = Annotated[str, AfterValidator(_storable)]  # PostgreSQL stores neither NUL nor lone surrogates
FreeDocument = Annotated[dict[str, Any], AfterValidator(_bounded)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
ObjectId = Annotated[str, Field(pattern=r"^[a-z]+_[0-9a-z]{4,40}$", max_length=64)]
