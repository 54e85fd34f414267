"""Prediction in the API's own process: decode, fit, batch, run; models come and go by use.

What a request takes is bounded in bytes: its images are decoded and run a few at a time, by what the network takes of
memory for each, and owners share threads and memory fairly.
"""

import asyncio
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple, Self

import numpy as np
from PIL.ImageFile import ImageFile

from app.blobs.store import Blobs
from app.contract.inputs import InputSpec
from app.core import errors
from app.db import tables
from app.imaging import images
from app.imaging.images import Pixels
from app.serving import sizes
from app.serving.batcher import Batcher
from app.serving.lanes import Lanes
from app.serving.predictor import ImagePrediction, Images, OnnxPredictor, OpenVinoPredictor, Predictor, TorchPredictor
from app.serving.share import Share
from app.serving.torch_process import TorchProcess

MAX_BATCH = 32
TIMEOUT_S = 30.0
Precision = Literal["float32", "int8"]
CHUNK_BYTES, CHUNK_IMAGES = 8 * 2**20, 256  # of a request, decoded and not yet run: the pixels that networks take
DECODED_AT_ONCE = 8  # images of a request, by each thread of the pool
SMALL_BYTES, SMALL_PIXELS = 32 * 1024, 100 * 100  # an image up to both is decoded faster than a thread is woken
LARGE_BYTES = 16 * 2**20  # images whose decoding takes more of memory are decoded by themselves, a few at a time
OWNERS_AT_ONCE = 4  # that may use all of the processor's cores for decoding; it is shared by the system
FEW = 16  # images, to which any network that is served adapts at a time
KEPT_BYTES = 64 * 2**20  # by a network between two batches, at the most
GUESSED = 128  # floats a pixel and channel, where nothing is known of what a network takes
MAX_NUMBERS = 2**22  # of one answer with embeddings: as JSON they take some ten bytes each


@dataclass(frozen=True)
class Servable:
    """The network that is to be served: the graph's content address, and the pixels that it takes.

    `image_bytes` is what the network takes of memory for each image; `document` and `weights` are what PyTorch makes
    the same network of.
    """

    graph: str
    input: InputSpec
    precision: Precision = "float32"
    image_bytes: int = field(default=0, compare=False)
    document: dict[str, object] = field(default_factory=dict, compare=False)
    weights: str = field(default="", compare=False)

    @classmethod
    def of(cls, row: tables.ServableRow, precision: Precision = "float32") -> Self:
        """
        Raises:
            NotServable: the network could not be exported, or takes too much memory.
            NotQuantized: it has not been, or is no model.
        """
        if row.graph is None or row.input is None or row.not_servable is not None:
            raise errors.NotServable(row.not_servable or "")
        graph = row.graph if precision == "float32" else getattr(row, "quantized", None)
        if graph is None:
            raise errors.NotQuantized("Only models are, once POST /v1/models/{id}/quantizations has ended well.")
        document = {"network": row.network, "input": row.input, "multi_label": row.multi_label}
        input = InputSpec.model_validate(row.input)
        image_bytes = row.image_bytes or GUESSED * 4 * math.prod(input.shape)
        return cls(graph, input, precision, image_bytes, document, row.weights or "")


class _Request(NamedTuple):
    pixels: Pixels
    features: bool


@dataclass(frozen=True)
class _Loaded:
    """`chunk`: images of a request that are decoded and run together."""

    predictor: Predictor
    batcher: Batcher[_Request, ImagePrediction]
    chunk: int

    def close(self) -> None:
        self.batcher.close()
        self.predictor.close()


Load = Callable[[Servable], Predictor]


def loader(blobs: Blobs, threads: int, torch_process: TorchProcess | None) -> Load:
    """Loads graphs, each into what runs it fastest.

    Where there is a PyTorch process, networks go there, but for those of eight bits.  What is loaded raises
    BlobLost where its file is gone or damaged.
    """

    def made(servable: Servable) -> Predictor:
        if servable.precision == "int8":
            return OpenVinoPredictor(blobs.path(servable.graph), threads)
        if torch_process is not None:
            return TorchPredictor(torch_process, servable.graph, servable.document, blobs.path(servable.weights))
        kept = MAX_BATCH * servable.image_bytes <= KEPT_BYTES
        return OnnxPredictor(blobs.path(servable.graph), threads, kept=kept)

    def load(servable: Servable) -> Predictor:
        in_torch = torch_process is not None and servable.precision == "float32"
        with blobs.reading(servable.weights if in_torch else servable.graph):
            predictor = made(servable)
            predictor.predict(np.zeros((1, *servable.input.shape), np.uint8))  # allocates its arenas
            return predictor

    return load


class Serving:
    """The models in memory, bounded by `memory_bytes`: the least recently used one makes room.

    All networks that run at a time take at most `run_bytes` for what they compute, all large images that are decoded at
    a time at most `decode_bytes`.  Belongs to one event loop: all methods are called from it.
    """

    def __init__(self, load: Load, *, memory_bytes: int, run_bytes: int, decode_bytes: int, capacity: int) -> None:
        self._load = load
        self._memory_bytes = memory_bytes
        self._runs = Share(run_bytes)
        self.capacity = capacity  # images of one network that may wait, for each owner
        self._loaded: OrderedDict[Servable, asyncio.Future[_Loaded]] = OrderedDict()
        cores = max(2, os.cpu_count() or 1)
        self._lanes = Lanes(threads=OWNERS_AT_ONCE * cores, each=cores, memory_bytes=decode_bytes, name="decode")

    async def predict(
        self,
        servable: Servable,
        encoded: Sequence[bytes],
        *,
        owner: str = "",
        features: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> list[ImagePrediction]:
        """Predictions for encoded images (JPEG, PNG, WebP, BMP, GIF, TIFF), in order; `features` only
        if asked for.

        Raises:
            InvalidImage: naming the first image that cannot be read.
            NotServable: the network takes too much memory for a single image.
            TooLarge: the features of so many images are too long for one answer.
            Overloaded, Unavailable: see `Batcher.submit`.
        """
        loaded = await self._get(servable)
        if features:
            _require_few_numbers(len(encoded), loaded.predictor.features)
        predictions: list[ImagePrediction] = []
        with loaded.batcher.room(len(encoded), owner) as keep:
            coming = self._decoding(servable, encoded, 0, loaded.chunk, owner)
            try:
                for start in range(0, len(encoded), loaded.chunk):
                    requests = [_Request(pixels, features) for pixels in await coming]
                    coming = self._decoding(servable, encoded, start + loaded.chunk, loaded.chunk, owner)
                    keep(len(requests))
                    predictions += await _answered(loaded, requests, timeout_s, owner)
            finally:
                coming.cancel()
        return predictions

    async def infer(
        self, servable: Servable, pixels: Images, *, owner: str = "", features: bool = False
    ) -> list[ImagePrediction]:
        """Predictions for `pixels` uint8 [N,H,W,C] at the network's own size, in order; see `predict`."""
        loaded = await self._get(servable)
        if features:
            _require_few_numbers(len(pixels), loaded.predictor.features)
        predictions: list[ImagePrediction] = []
        with loaded.batcher.room(len(pixels), owner) as keep:
            for start in range(0, len(pixels), loaded.chunk):
                requests = [_Request(image, features) for image in pixels[start : start + loaded.chunk]]
                keep(len(requests))
                predictions += await _answered(loaded, requests, TIMEOUT_S, owner)
        return predictions

    async def more(self, servable: Servable) -> Predictor:
        """The predictor of a network: what it gives beside probabilities."""
        return (await self._get(servable)).predictor

    async def close(self) -> None:
        for future in self._loaded.values():
            if future.done() and not future.exception():
                await asyncio.to_thread(future.result().close)
        self._loaded.clear()
        await asyncio.to_thread(self._lanes.close)

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
        needed = servable.image_bytes
        self._require_servable(servable)
        predictor = self._load(servable)
        # what PyTorch takes is memory of another process, or of a GPU
        batch = MAX_BATCH if isinstance(predictor, TorchPredictor) else min(MAX_BATCH, self._runs.total // needed)
        pixel_bytes = math.prod(servable.input.shape)
        chunk = min(CHUNK_IMAGES, max(batch, CHUNK_BYTES // pixel_bytes))

        def process(requests: list[_Request]) -> list[ImagePrediction]:
            wanted = any(each.features for each in requests)
            with self._runs.taking(needed * len(requests)):
                outputs = predictor.predict(np.stack([each.pixels for each in requests]), features=wanted)
            return outputs.of_images

        capacity = min(self.capacity, max(chunk, self._runs.total // pixel_bytes))
        return _Loaded(predictor, Batcher(process, max_batch=batch, capacity=capacity, name=servable.graph[:8]), chunk)

    def require_few(self, servable: Servable, count: int) -> None:
        """Refuse more images than a network can adapt to at once, as it does to all of a request.

        Raises:
            NotServable: it takes too much memory for a single image.
            TooLarge: or for so many.
        """
        self._require_servable(servable)
        most = max(FEW, self._runs.total // servable.image_bytes)
        if count > most:
            raise errors.TooLarge(f"A network of this size adapts to {most} images at a time, not to {count}.")

    def _require_servable(self, servable: Servable) -> None:
        if servable.image_bytes > self._runs.total:
            raise errors.NotServable(sizes.too_large(servable.image_bytes, self._runs.total))

    def _decoding(
        self, servable: Servable, encoded: Sequence[bytes], start: int, count: int, owner: str
    ) -> asyncio.Future[list[Pixels]]:
        part = encoded[start : start + count]
        return asyncio.ensure_future(self.decoded(part, servable.input, owner=owner, first=start))

    async def decoded(
        self, encoded: Sequence[bytes], spec: InputSpec, *, owner: str = "", first: int = 0
    ) -> list[Pixels]:
        """The pixels that the network takes, uint8 [H,W,C] each: at once where that takes no time, else in a thread.

        `first` is the place of the first of them in the request.

        Raises:
            InvalidImage: see `predict`.
        """
        if len(encoded) == 1 and len(encoded[0]) <= SMALL_BYTES:
            with _naming(first):
                image = images.opened(encoded[0])
                if image.width * image.height <= SMALL_PIXELS:
                    return [_fitted(image, spec)]
        starts = range(0, len(encoded), DECODED_AT_ONCE)
        parts = [self._decoded_part(encoded[i : i + DECODED_AT_ONCE], spec, owner, first + i) for i in starts]
        pixels: list[Pixels] = []
        for part in await asyncio.gather(*parts, return_exceptions=True):  # of several bad ones the first is named
            if isinstance(part, BaseException):
                raise part
            pixels += part
        return pixels

    async def _decoded_part(self, encoded: Sequence[bytes], spec: InputSpec, owner: str, first: int) -> list[Pixels]:
        """A few of them; those that are large by themselves, each when there is room for it."""
        parts = await self._lanes.run(owner, partial(self._decoded_or_opened, encoded, spec, first))
        pixels: list[Pixels] = []
        for index, image in enumerate(parts, first):
            if isinstance(image, np.ndarray):
                pixels.append(image)
            else:
                decode = partial(_large_decoded, encoded[index - first], spec, index)
                pixels.append(await self._lanes.run(owner, decode, memory_bytes=image))
        return pixels

    def _decoded_or_opened(self, encoded: Sequence[bytes], spec: InputSpec, first: int) -> list[Pixels | int]:
        """The pixels of each image; for a large one the memory that its decoding takes, in bytes."""
        decoded: list[Pixels | int] = []
        for index, data in enumerate(encoded, first):
            with _naming(index):
                image = images.opened(data)
                needed = images.memory(image)
                if needed > self._lanes.memory_bytes:
                    raise images.BadImage(
                        f"Decoding it takes {needed:,} bytes of memory; this server gives {self._lanes.memory_bytes:,}."
                    )
                decoded.append(_fitted(image, spec) if needed <= LARGE_BYTES else needed)
        return decoded

    def _evict(self, keep: Servable) -> None:
        loaded = {s: f.result() for s, f in self._loaded.items() if f.done() and not f.exception()}
        held = sum(entry.predictor.nbytes for entry in loaded.values())
        for servable, entry in loaded.items():  # in order of use, oldest first
            if held <= self._memory_bytes:
                return
            if servable != keep:
                held -= entry.predictor.nbytes
                del self._loaded[servable]
                asyncio.get_running_loop().run_in_executor(None, entry.close)


async def _answered(loaded: _Loaded, requests: list[_Request], timeout_s: float, owner: str) -> list[ImagePrediction]:
    predictions = []
    for answer in await loaded.batcher.submit(requests, timeout_s, owner=owner, promised=True):
        if isinstance(answer, Exception):
            raise answer
        predictions.append(answer)
    return predictions


def _require_few_numbers(count: int, features: int) -> None:
    if count * features > MAX_NUMBERS:
        most = MAX_NUMBERS // features
        advice = f"send at most {most:,} images at a time" if most else "this network's are too long for an answer"
        raise errors.TooLarge(f"Embeddings of {features:,} numbers for each of {count:,} images: {advice}.")


def _large_decoded(data: bytes, spec: InputSpec, index: int) -> Pixels:
    with _naming(index):
        return _fitted(images.opened(data), spec)


def _fitted(image: ImageFile, spec: InputSpec) -> Pixels:
    """The one path from an image to a network's input, the same as in training."""
    return images.fit(images.decoded(image, bounded=True), spec)


@contextmanager
def _naming(index: int) -> Iterator[None]:
    try:
        yield
    except images.BadImage as error:
        raise errors.InvalidImage(f"Image {index}: {error}", param=f"images.{index}") from None
