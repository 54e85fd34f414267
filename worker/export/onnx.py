"""A network with its input contract as an ONNX graph: uint8 images in, probabilities, features and energy out."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from worker.export import memory
from worker.export.served import Answers, Served
from worker.networks.heads import Head
from worker.networks.structure import Structure

OPSET = 20
LARGEST = 2**31 - 2**26  # bytes of weights: a graph is one protobuf message, which ends at 2 GiB
CHECKED = (1, 3)  # batch sizes on which graph and network are compared
TOLERANCE = 1e-3  # of probabilities; of features and energies relative to the largest
_LOUD = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class NotExportable(Exception):
    """The network cannot be served from a graph; the sentence says why."""


def export(network: nn.Module, structure: Structure, input: InputSpec, path: Path, *, multi_label: bool = False) -> int:
    """Write the graph of the network (on the CPU, in evaluation mode) to `path`, and compare the two.

    Returns:
        Bytes of memory that a run of the graph takes for each image.

    Raises:
        NotExportable: it could not be written, or gives other results.
    """
    if sum(tensor.nbytes for tensor in network.state_dict().values()) > LARGEST:
        raise NotExportable("its weights are too many for one ONNX file, which ends at 2 GiB")
    served = Served(network, structure, input, multi_label=multi_label).eval()
    try:
        with _quiet():
            graph = _graph(served, input)
            onnx_ir.save(graph, path)
            image_bytes = memory.of_an_image(graph)
    except Exception as error:  # the exporter raises whatever its parts raise
        raise NotExportable(f"PyTorch could not export it: {_first_line(error)}") from error
    _compare(served, input, path)
    return image_bytes


def _graph(served: Served, input: InputSpec) -> onnx_ir.Model:
    shapes = {"image": {0: torch.export.Dim("N", min=1)}}
    program = torch.export.export(served, (_images(2, input),), dynamic_shapes=shapes, strict=False)
    exported = torch.onnx.export(
        program,
        dynamic_shapes=shapes,
        input_names=["image"],
        output_names=[*Answers._fields],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if exported is None:
        raise NotExportable("PyTorch gave no graph")
    return _bare(exported.model)


def _bare(model: onnx_ir.Model) -> onnx_ir.Model:
    """Strip a graph of its notes on where in whose source every node comes from: they are longer than a small network,
    and never read."""
    model.metadata_props.clear()
    for graph in model.graphs():
        graph.metadata_props.clear()
        for node in graph:
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
    return model


def _compare(served: Served, input: InputSpec, path: Path) -> None:
    try:
        session = onnxruntime.InferenceSession(str(path), _options(), providers=["CPUExecutionProvider"])
        answers: Any = [session.run([*Answers._fields], {"image": _images(n, input).numpy()}) for n in CHECKED]
    except Exception as error:  # onnxruntime's exceptions have no common base but this
        raise NotExportable(f"ONNX Runtime could not run it: {_first_line(error)}") from error
    jump = max((module.jump for module in served.modules() if isinstance(module, Head)), default=0.0)
    for count, (probabilities, features, energy) in zip(CHECKED, answers, strict=True):
        with torch.inference_mode():
            wanted_NK, wanted_ND, wanted_N = (tensor.numpy() for tensor in served(_images(count, input)))
        _require_close("probabilities", probabilities, wanted_NK, TOLERANCE + jump)
        _require_close("features", features, wanted_ND, TOLERANCE * max(1.0, float(np.abs(wanted_ND).max())))
        _require_close("energies", energy, wanted_N, (TOLERANCE + jump) * max(1.0, float(np.abs(wanted_N).max())))


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; they are raised as well
    return options


def _require_close(what: str, outputs: NDArray[np.float32], wanted: NDArray[np.float32], tolerance: float) -> None:
    if outputs.shape != wanted.shape:
        raise NotExportable(f"the graph's {what} have shape {outputs.shape}, the network's {wanted.shape}")
    gap = float(np.abs(outputs - wanted).max())
    if not gap <= tolerance:  # NaN compares false
        raise NotExportable(f"the graph's {what} differ from the network's by {gap:.2g}")


def _images(count: int, input: InputSpec) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (count, *input.size, input.channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own parts, logs, and prints; none of it is for whoever exports."""
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in _LOUD}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
