"""A trained network that answers for a batch of images."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.serving.beside import Beside

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Prediction(NamedTuple):
    """Of one image: probabilities [K], features [D]."""

    probabilities: Floats
    features: Floats


class Predictor(Protocol):
    """What serves a model."""

    nbytes: int  # memory that it holds, as far as that can be told

    def predict(self, images: Images) -> tuple[Floats, Floats]:
        """`images` uint8 [N,H,W,C] at the model's size → probabilities [N,K] and features [N,D]."""

    def close(self) -> None:
        """It is not asked any more."""


class TorchPredictor:
    """The network itself, in a PyTorch process beside the API: on a GPU."""

    def __init__(self, beside: Beside, name: str, document: dict[str, Any], weights: Path) -> None:
        """`name` is nobody else's; `document`: {network, input, multi_label}."""
        self._beside, self._known = beside, (name, document, weights)
        self.nbytes: int = beside.ask("load", *self._known)

    def predict(self, images: Images) -> tuple[Floats, Floats]:
        probabilities, features = self._beside.ask("predict", *self._known, images)
        return probabilities, features

    def close(self) -> None:
        if self._beside.alive:
            self._beside.ask("forget", self._known[0])


class OpenVinoPredictor:
    """An eight-bit graph, on the CPU: OpenVINO runs these about twice as fast as ONNX Runtime (docs/adr/0013)."""

    def __init__(self, graph: Path, threads: int) -> None:
        from openvino import Core  # here: most servers never need it, and it takes a third of a second

        options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._network: Any = Core().compile_model(str(graph), "CPU", options)
        self.nbytes = 2 * graph.stat().st_size

    def predict(self, images: Images) -> tuple[Floats, Floats]:
        found = self._network({"image": images})
        return found["probabilities"], found["features"]

    def close(self) -> None:
        """Its memory goes with it."""


class OnnxPredictor:
    """The graph that the worker exported and verified, on the CPU."""

    def __init__(self, graph: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # idle threads that spin would take the cores away from decoding and from HTTP
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.nbytes = 2 * graph.stat().st_size  # the weights, and their repacked copies

    def predict(self, images: Images) -> tuple[Floats, Floats]:
        probabilities, features = self._session.run(["probabilities", "features"], {"image": images})
        return probabilities, features

    def close(self) -> None:
        """Its memory goes with it."""
