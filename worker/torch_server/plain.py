"""A network that answers, and stays as it is: on a GPU in half precision, by graphs that were captured once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.export.served import Answers, Served
from worker.runtime import device

SIZES = (1, 2, 4, 8, 16, 32)  # of batches that have a graph; others are filled up to the next, or cut
WARMED = 3  # runs before the capture, in which libraries choose and allocate

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Captured:
    """`graph` reads `image` and leaves its answers in the other one."""

    graph: torch.cuda.CUDAGraph
    image: Tensor
    answers: Answers


class Plain:
    """`served` on its device; it is this object's own.  `features` is D, how many numbers they are of an image."""

    def __init__(self, served: Served, on: torch.device, *, features: int) -> None:
        self._device, self.features = on, features
        self._served = served.eval().requires_grad_(False).to(on)
        device.place(self._served.network, on)
        self._captured: dict[int, _Captured] = {}
        self.nbytes: int = sum(tensor.nbytes for tensor in self._served.state_dict().values())

    def predict(self, images: NDArray[np.uint8], *, features: bool = False) -> tuple[Floats, Floats | None, Floats]:
        """uint8 [N,H,W,C] → probabilities [N,K], features [N,D] if asked for, energies [N]."""
        starts = range(0, len(images), SIZES[-1])
        parts = [self._answer(torch.from_numpy(images[i : i + SIZES[-1]])) for i in starts]
        probabilities, feature_parts, energies = zip(*parts, strict=True)
        return _joined(probabilities), _joined(feature_parts) if features else None, _joined(energies)

    @torch.inference_mode()
    def _answer(self, image: Tensor) -> Answers:
        """All on the device."""
        if self._device.type != "cuda":
            answers: Answers = self._served(image.to(self._device))
            return answers
        size = next(size for size in SIZES if size >= len(image))
        if size not in self._captured:
            self._captured[size] = self._capture(torch.zeros(size, *image.shape[1:], dtype=torch.uint8))
        captured = self._captured[size]
        captured.image[: len(image)].copy_(image)
        captured.graph.replay()
        # copies: the next batch is answered in the same place
        return Answers(*(answer[: len(image)].clone() for answer in captured.answers))

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
            answers = self._halved(image)
        return _Captured(graph, image, answers)

    def _halved(self, image: Tensor) -> Answers:
        # casts of weights that autocast keeps would be freed behind the graph's back
        with torch.autocast(self._device.type, torch.float16, cache_enabled=False):
            answers: Answers = self._served(image)
        return Answers(*(answer.float() for answer in answers))


def _joined(parts: Sequence[Tensor]) -> Floats:
    return torch.cat(tuple(parts)).cpu().numpy()
