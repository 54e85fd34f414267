"""Networks that adapt to the images that they are asked about, in a PyTorch process of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from app.blobs.store import Blobs
from app.contract import grafted
from app.core import errors
from app.db import tables
from app.imaging.images import Pixels
from app.serving.predictor import ImagePrediction
from app.serving.torch_process import DoesNotFit, TorchProcess

WAITING = 64  # requests; beyond, they are refused


@dataclass(frozen=True)
class Adaptable:
    """A network that is to adapt, by the name of its object."""

    name: str
    document: dict[str, object]  # network and input contract
    weights: str

    @classmethod
    def of(cls, row: tables.ServableRow, name: str) -> Self:
        """
        Raises:
            NotAdaptable: predictions of this kind have no entropy that could be lowered.
        """
        if row.network["name"] == grafted.NAME:
            raise errors.NotAdaptable("Its head was fitted on features, and is not moved by gradients.")
        if row.multi_label:
            raise errors.NotAdaptable("An image may have any number of its classes: the entropy is of one choice.")
        assert row.weights is not None
        return cls(name, {"network": row.network, "input": row.input}, row.weights)


@dataclass(frozen=True)
class AdaptationState:
    """The state of a stream's adaptation, as `worker.torch_server.tent.StreamState` describes it."""

    steps: int = 0
    images: int = 0
    entropy: float | None = None
    waiting: int = 0
    collapses: int = 0


class Streams:
    """One process for all; if it dies, every network begins anew."""

    def __init__(self, blobs: Blobs, *, device: str, threads: int) -> None:
        self._blobs = blobs
        self._torch_process = TorchProcess(device=device, threads=threads)
        self._turn = ThreadPoolExecutor(1, thread_name_prefix="streams")  # batches come one after another in any case
        self._waiting = 0

    async def predict(self, what: Adaptable, pixels: list[Pixels]) -> tuple[list[ImagePrediction], AdaptationState]:
        """Predictions for images as the network takes them, in order, and where its adaptation stands after them.

        Raises:
            NotAdaptable: it has no batch norm.
            NotInstalled: this server has no PyTorch.
            Overloaded, Unavailable: too many are waiting; the process died of it, and what had adapted is lost.
            BlobLost: its weights are gone or damaged.
        """

        def adapt() -> Any:
            with self._blobs.reading(what.weights):
                path = self._blobs.path(what.weights)
                return self._torch_process.ask("adapt", what.name, what.document, path, np.stack(pixels))

        probabilities_NK, state = await self._in_turn(adapt)
        return list(map(ImagePrediction, probabilities_NK)), AdaptationState(**state)

    async def state(self, name: str) -> AdaptationState:
        """The state of the object's adaptation; that of its beginning where nothing is known of it."""
        state = await self._in_turn(self._torch_process.ask, "tell", name) if self._torch_process.alive else None
        return AdaptationState(**(state or {}))

    async def reset(self, name: str) -> None:
        """Back to what is stored."""
        if self._torch_process.alive:
            await self._in_turn(self._torch_process.ask, "reset", name)

    async def close(self) -> None:
        self._turn.shutdown(cancel_futures=True)
        self._torch_process.close()

    async def _in_turn(self, ask: Callable[..., Any], *message: Any) -> Any:
        if self._waiting >= WAITING:
            raise errors.Overloaded(retry_after_s=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._turn, ask, *message)
        except DoesNotFit as error:
            raise errors.NotAdaptable(str(error)) from None
        finally:
            self._waiting -= 1
