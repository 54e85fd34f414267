"""A trained network that answers for a batch of images."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.serving.torch_process import TorchProcess

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]


class ImagePrediction(NamedTuple):
    """The prediction of one image: probabilities [K], features [D] where they were asked for, and its energy, which
    graphs that older versions exported do not give."""

    probabilities: Floats
    features: Floats | None = None
    energy: float | None = None


class Outputs(NamedTuple):
    """The outputs of a predictor for N images: probabilities [N,K], features [N,D] if asked for, energies [N] if it has
    them."""

    probabilities: Floats
    features: Floats | None = None
    energy: Floats | None = None

    @property
    def of_images(self) -> list[ImagePrediction]:
        nothing = [None] * len(self.probabilities)
        features = nothing if self.features is None else self.features
        energies = nothing if self.energy is None else self.energy.tolist()
        return list(map(ImagePrediction, self.probabilities, features, energies))


class Predictor(Protocol):
    """A predictor, which serves a model."""

    nbytes: int  # memory that it holds, as far as that can be told
    features: int  # D, how many numbers an image's features are
    gives_energy: bool  # graphs that older versions exported do not

    def predict(self, images: Images, *, features: bool = False) -> Outputs:
        """`images` uint8 [N,H,W,C] at the model's size → its answers."""

    def close(self) -> None:
        """Release what the predictor holds: it is not asked any more."""


class TorchPredictor:
    """The network itself, in a PyTorch process beside the API: on a GPU."""

    def __init__(self, torch_process: TorchProcess, name: str, document: dict[str, object], weights: Path) -> None:
        """`name` is nobody else's; `document`: {network, input, multi_label}."""
        self._torch_process, self._known = torch_process, (name, document, weights)
        size: tuple[int, int] = torch_process.ask("load", *self._known)
        self.nbytes, self.features = size
        self.gives_energy = True

    def predict(self, images: Images, *, features: bool = False) -> Outputs:
        return Outputs(*self._torch_process.ask("predict", *self._known, images, features))

    def close(self) -> None:
        if self._torch_process.alive:
            self._torch_process.ask("forget", self._known[0])


class OpenVinoPredictor:
    """An eight-bit graph, on the CPU: OpenVINO runs these about twice as fast as ONNX Runtime (docs/adr/0013)."""

    def __init__(self, graph: Path, threads: int) -> None:
        from openvino import Core  # here: most servers never need it, and it takes a third of a second

        options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._network: Any = Core().compile_model(str(graph), "CPU", options)
        self.nbytes = 2 * graph.stat().st_size
        self.features: int = self._network.output("features").partial_shape[1].get_length()
        self.gives_energy = any("energy" in output.names for output in self._network.outputs)

    def predict(self, images: Images, *, features: bool = False) -> Outputs:
        outputs = self._network({"image": images})
        energy = outputs["energy"] if self.gives_energy else None
        return Outputs(outputs["probabilities"], outputs["features"] if features else None, energy)

    def close(self) -> None:
        """Do nothing: the memory goes with the predictor."""


class OnnxPredictor:
    """The graph that the worker exported and verified, on the CPU.

    `kept`: memory that a batch took is kept for the next, which saves some percent of its time.
    """

    def __init__(self, graph: Path, threads: int, *, kept: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = kept
        # idle threads that spin would take the cores away from decoding and from HTTP
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.nbytes = 2 * graph.stat().st_size  # the weights, and their repacked copies
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        self.features: int = shapes["features"][1]
        self.gives_energy = "energy" in shapes
        self._always = ("probabilities", "energy") if self.gives_energy else ("probabilities",)

    def predict(self, images: Images, *, features: bool = False) -> Outputs:
        wanted = (*self._always, "features") if features else self._always
        return Outputs(**dict(zip(wanted, self._session.run(wanted, {"image": images}), strict=True)))

    def close(self) -> None:
        """Do nothing: the memory goes with the predictor."""
