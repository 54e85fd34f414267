"""Regraft from Python: `Client` and `AsyncClient` for the REST service, with typed results and errors."""

from regraft.client import AsyncClient, Client
from regraft.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Corrupted,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    RateLimited,
    RegraftError,
    ServerError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unreachable,
    Unsuccessful,
    Unsupported,
    WaitTimeout,
)
from regraft.wire import Retry

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Client",
    "Conflict",
    "Corrupted",
    "Forbidden",
    "Gone",
    "Invalid",
    "NotFound",
    "RateLimited",
    "RegraftError",
    "Retry",
    "ServerError",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "Unsuccessful",
    "Unsupported",
    "WaitTimeout",
]
