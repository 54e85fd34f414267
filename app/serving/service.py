"""Prediction in the API's own process: decode, fit, batch, run; models come and go by use."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from app.core import errors
from app.db import tables
from app.imaging import images
from app.imaging.images import Pixels
from app.methods.inputs import InputSpec
from app.serving.batcher import Batcher
from app.serving.beside import Beside
from app.serving.predictor import OnnxPredictor, OpenVinoPredictor, Prediction, Predictor, TorchPredictor

MAX_BATCH = 32
TIMEOUT_S = 30.0
Precision = Literal["float32", "int8"]
DECODED_AT_ONCE = 8  # images of a request, by each thread of the pool
SMALL_BYTES, SMALL_PIXELS = 32 * 1024, 100 * 100  # an image up to both is decoded faster than a thread is woken


@dataclass(frozen=True)
class Servable:
    """What is to be served: the graph's content address, and the pixels that it takes.

    `document` and `weights` are what PyTorch makes the same network of.
    """

    graph: str
    input: InputSpec
    precision: Precision = "float32"
    document: dict[str, Any] = field(default_factory=dict, compare=False)
    weights: str = field(default="", compare=False)

    @classmethod
    def of(cls, row: tables.Servable, precision: Precision = "float32") -> Self:
        """
        Raises:
            NotServable: the network could not be exported.
            NotQuantized: it has not been, or is no model.
        """
        if row.graph is None or row.input is None:
            raise errors.NotServable(row.not_servable or "")
        graph = row.graph if precision == "float32" else getattr(row, "quantized", None)
        if graph is None:
            raise errors.NotQuantized("Only models are, once POST /v1/models/{id}/quantizations has ended well.")
        document = {"network": row.network, "input": row.input, "multi_label": row.multi_label}
        return cls(graph, InputSpec.model_validate(row.input), precision, document, row.weights or "")


@dataclass(frozen=True)
class _Loaded:
    predictor: Predictor
    batcher: Batcher[Pixels, Prediction]

    def close(self) -> None:
        self.batcher.close()
        self.predictor.close()


Load = Callable[[Servable], Predictor]


def loader(path: Callable[[str], Path], threads: int, beside: Beside | None) -> Load:
    """Loads graphs, each into what runs it fastest; `path` gives the local file of a content address.

    Where there is a PyTorch process beside, networks go there, but for those of eight bits.
    """

    def load(servable: Servable) -> Predictor:
        if servable.precision == "int8":
            return OpenVinoPredictor(path(servable.graph), threads)
        if beside is not None:
            return TorchPredictor(beside, servable.graph, servable.document, path(servable.weights))
        return OnnxPredictor(path(servable.graph), threads)

    return load


class Serving:
    """The models in memory, bounded by `memory_bytes`: the least recently used one makes room.

    Belongs to one event loop: all methods are called from it.
    """

    def __init__(self, load: Load, *, memory_bytes: int, capacity: int) -> None:
        self._load = load
        self._memory_bytes = memory_bytes
        self.capacity = capacity  # images of one network that may wait
        self._loaded: OrderedDict[Servable, asyncio.Future[_Loaded]] = OrderedDict()
        self._pool = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="decode")

    async def predict(
        self, servable: Servable, encoded: Sequence[bytes], timeout_s: float = TIMEOUT_S
    ) -> list[Prediction]:
        """Predictions for encoded images (JPEG, PNG, WebP, BMP, GIF, TIFF), in order.

        Raises:
            InvalidImage: naming the first image that cannot be read.
            Overloaded, Unavailable: see `Batcher.submit`.
        """
        loaded = await self._get(servable)
        with loaded.batcher.room(len(encoded)):
            pixels = await self.decoded(encoded, servable.input)
        predictions: list[Prediction] = []
        for answer in await loaded.batcher.submit(pixels, timeout_s):
            if isinstance(answer, Exception):
                raise answer
            predictions.append(answer)
        return predictions

    async def close(self) -> None:
        for future in self._loaded.values():
            if future.done() and not future.exception():
                await asyncio.to_thread(future.result().close)
        self._loaded.clear()
        self._pool.shutdown()

    async def _get(self, servable: Servable) -> _Loaded:
        future = self._loaded.get(servable)
        if future is not None and future.done() and not future.exception():
            self._loaded.move_to_end(servable)
            return future.result()
        if future is None:
            # entered before it is awaited: requests that come meanwhile wait for this one load
            future = asyncio.ensure_future(asyncio.to_thread(self._open, servable))
            self._loaded[servable] = future
        self._loaded.move_to_end(servable)
        try:
            loaded = await asyncio.shield(future)
        except BaseException:
            if future.done():
                self._loaded.pop(servable, None)
            raise
        self._evict(keep=servable)
        return loaded

    def _open(self, servable: Servable) -> _Loaded:
        predictor = self._load(servable)
        height, width = servable.input.size
        predictor.predict(np.zeros((1, height, width, servable.input.channels), np.uint8))  # allocates its arenas
        return _Loaded(
            predictor,
            Batcher(
                lambda pixels: list(map(Prediction, *predictor.predict(np.stack(pixels)))),
                max_batch=MAX_BATCH,
                capacity=self.capacity,
                name=servable.graph[:8],
            ),
        )

    async def decoded(self, encoded: Sequence[bytes], spec: InputSpec) -> list[Pixels]:
        """The pixels that the network takes, uint8 [H,W,C] each: at once where that takes no time, else in a thread.

        Raises:
            InvalidImage: see `predict`.
        """
        if len(encoded) == 1 and len(encoded[0]) <= SMALL_BYTES:
            with _naming(0):
                image = images.opened(encoded[0])
                if image.width * image.height <= SMALL_PIXELS:
                    return [_fitted(images.decoded(image), spec)]
        run = asyncio.get_running_loop().run_in_executor
        starts = range(0, len(encoded), DECODED_AT_ONCE)
        parts = [run(self._pool, _all_decoded, encoded[i : i + DECODED_AT_ONCE], i, spec) for i in starts]
        pixels: list[Pixels] = []
        for found in await asyncio.gather(*parts, return_exceptions=True):  # of several bad ones the first is named
            if isinstance(found, BaseException):
                raise found
            pixels += found
        return pixels

    def _evict(self, keep: Servable) -> None:
        loaded = {s: f.result() for s, f in self._loaded.items() if f.done() and not f.exception()}
        held = sum(entry.predictor.nbytes for entry in loaded.values())
        for servable, entry in loaded.items():  # in order of use, oldest first
            if held <= self._memory_bytes:
                return
            if servable != keep:
                held -= entry.predictor.nbytes
                del self._loaded[servable]
                self._pool.submit(entry.close)


def _all_decoded(encoded: Sequence[bytes], first: int, spec: InputSpec) -> list[Pixels]:
    """`first` is the place of the first of them in the request."""
    pixels = []
    for index, data in enumerate(encoded, first):
        with _naming(index):
            pixels.append(_fitted(images.decode(data), spec))
    return pixels


def _fitted(image: Pixels, spec: InputSpec) -> Pixels:
    """The one path from an image to a network's input, the same as in training."""
    return images.fit(images.bound(image), spec)


@contextmanager
def _naming(index: int) -> Iterator[None]:
    try:
        yield
    except images.BadImage as error:
        raise errors.InvalidImage(f"Image {index}: {error}", param=f"images.{index}") from None
