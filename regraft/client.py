"""The two clients: resource nouns on httpx."""

import os
from importlib.metadata import version
from typing import Any, Self

import httpx

from regraft.nouns.catalogue import Methods, Networks
from regraft.nouns.checkpoints import Checkpoints
from regraft.nouns.datasets import Datasets
from regraft.nouns.files import Files
from regraft.nouns.jobs import Jobs
from regraft.nouns.keys import Keys
from regraft.nouns.models import Models
from regraft.nouns.preflights import Preflights
from regraft.nouns.recommendations import Recommendations
from regraft.nouns.sweeps import Sweeps
from regraft.nouns.tournaments import Tournaments
from regraft.nouns.uploads import Uploads
from regraft.steps import Awaiting, Blocking
from regraft.wire import Retry

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_S = 60.0


class Client:
    """`with Client(url, key=…) as client: client.jobs.create(…)`.

    `url` and `key` default to `REGRAFT_URL` and `REGRAFT_KEY`.  `transport` replaces the network (tests, proxies).
    Every call raises `regraft.ApiError` or another `regraft.RegraftError`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.http = httpx.Client(**_options(url, key, timeout_s), transport=transport)
        parts = Blocking(self.http), retry or Retry()
        self.files = Files(*parts)
        self.uploads = Uploads(*parts)
        self.checkpoints = Checkpoints(*parts)
        self.datasets = Datasets(*parts)
        self.networks = Networks(*parts)
        self.methods = Methods(*parts)
        self.recommendations = Recommendations(*parts)
        self.preflights = Preflights(*parts)
        self.tournaments = Tournaments(*parts)
        self.sweeps = Sweeps(*parts)
        self.jobs = Jobs(*parts)
        self.models = Models(*parts)
        self.keys = Keys(*parts)

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncClient:
    """An asynchronous client with the nouns and signatures of `Client`; every call is awaited, every list iterated with
    `async for`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.http = httpx.AsyncClient(**_options(url, key, timeout_s), transport=transport)
        parts = Awaiting(self.http), retry or Retry()
        self.files = Files(*parts)
        self.uploads = Uploads(*parts)
        self.checkpoints = Checkpoints(*parts)
        self.datasets = Datasets(*parts)
        self.networks = Networks(*parts)
        self.methods = Methods(*parts)
        self.recommendations = Recommendations(*parts)
        self.preflights = Preflights(*parts)
        self.tournaments = Tournaments(*parts)
        self.sweeps = Sweeps(*parts)
        self.jobs = Jobs(*parts)
        self.models = Models(*parts)
        self.keys = Keys(*parts)

    async def close(self) -> None:
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def _options(url: str | None, key: str | None, timeout_s: float) -> dict[str, Any]:
    key = key or os.environ.get("REGRAFT_KEY")
    headers = {"User-Agent": f"regraft/{version('regraft')}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return {
        "base_url": url or os.environ.get("REGRAFT_URL") or DEFAULT_URL,
        "headers": headers,
        "timeout": timeout_s,
    }
