"""A network that answers, and stays as it is: on a GPU in half precision, by graphs that were captured once."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.export.served import Served
from worker.runtime import device

SIZES = (1, 2, 4, 8, 16, 32)  # of batches that have a graph; others are filled up to the next, or cut
WARMED = 3  # runs before the capture, in which libraries choose and allocate

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Captured:
    """`graph` reads `image` and leaves its answers in the other two."""

    graph: torch.cuda.CUDAGraph
    image: Tensor
    probabilities: Tensor
    features: Tensor


class Plain:
    """`served` on its device; it is this object's own.  `features` is D, how many numbers they are of an image."""

    def __init__(self, served: Served, on: torch.device, *, features: int) -> None:
        self._device, self.features = on, features
        self._served = served.eval().requires_grad_(False).to(on)
        device.place(self._served.network, on)
        self._captured: dict[int, _Captured] = {}
        self.nbytes: int = sum(tensor.nbytes for tensor in self._served.state_dict().values())

    def predict(self, images: NDArray[np.uint8], *, features: bool = False) -> tuple[Floats, Floats | None]:
        """uint8 [N,H,W,C] → probabilities [N,K] and, if asked for, features [N,D]."""
        starts = range(0, len(images), SIZES[-1])
        parts = [self._answer(torch.from_numpy(images[i : i + SIZES[-1]]))[: 1 + features] for i in starts]
        outputs = [torch.cat(each).cpu().numpy() for each in zip(*parts, strict=True)]
        return outputs[0], outputs[1] if features else None

    @torch.inference_mode()
    def _answer(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Both on the device."""
        if self._device.type != "cuda":
            probabilities, features = self._served(image.to(self._device))
            return probabilities, features
        size = next(size for size in SIZES if size >= len(image))
        if size not in self._captured:
            self._captured[size] = self._capture(torch.zeros(size, *image.shape[1:], dtype=torch.uint8))
        captured = self._captured[size]
        captured.image[: len(image)].copy_(image)
        captured.graph.replay()
        # copies: the next batch is answered in the same place
        return captured.probabilities[: len(image)].clone(), captured.features[: len(image)].clone()

    def _capture(self, zeros: Tensor) -> _Captured:
        image = zeros.to(self._device)
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(aside):
            for _ in range(WARMED):
                self._halved(image)
        torch.cuda.current_stream(self._device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            probabilities, features = self._halved(image)
        return _Captured(graph, image, probabilities, features)

    def _halved(self, image: Tensor) -> tuple[Tensor, Tensor]:
        # casts of weights that autocast keeps would be freed behind the graph's back
        with torch.autocast(self._device.type, torch.float16, cache_enabled=False):
            probabilities, features = self._served(image)
        return probabilities.float(), features.float()
