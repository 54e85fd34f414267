"""A graph in eight bits: weights once and for all, activations by the ranges that they had on real images."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

LINEAR = ("Conv", "Gemm", "MatMul")
QUANTISED = [*LINEAR, "Add", "Relu", "MaxPool", "GlobalAveragePool"]
BATCH = 32


def quantise(graph: Path, images_NHWC: NDArray[np.uint8], path: Path) -> None:
    """Write the eight-bit graph of `graph`, which takes the same `image` and gives the same outputs.

    Activations of uint8 between the least and the greatest value that `images_NHWC` made them (min-max), weights of
    int8 with a scale a channel (Jacob et al. 2018; Krishnamoorthi 2018, section 3).  What comes before the first layer
    with weights, and the softmax, stay in float32.
    """
    model = onnx.load(graph)
    with _quiet():
        quantize_static(
            model,
            path,
            _Images(images_NHWC),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=QUANTISED,
            nodes_to_exclude=_before_weights(model),
        )


class _Images(CalibrationDataReader):
    def __init__(self, images_NHWC: NDArray[np.uint8]) -> None:
        self._batches = (images_NHWC[start : start + BATCH] for start in range(0, len(images_NHWC), BATCH))

    def get_next(self) -> Any:
        """The next batch as inputs of the graph; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def _before_weights(model: onnx.ModelProto) -> list[str]:
    """The nodes that scale and normalise the image: eight bits there would cost accuracy and save nothing."""
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type in LINEAR:
            break
        names.append(node.name)
    return names


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime advises, on the root logger, to fold what the exporter has folded already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
