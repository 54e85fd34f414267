"""A network whose file is damaged is refused as that, whatever would have run it."""

import numpy as np
import pytest
from safetensors.numpy import save

from app.blobs.store import Blobs
from app.contract.inputs import InputSpec
from app.core import errors
from app.serving.service import Servable, loader
from app.serving.torch_process import TorchProcess
from tests.app.api.world import INPUT, NETWORK, SIDE, graph_bytes

WEIGHTS = {"1.weight": np.zeros((3, SIDE * SIDE), np.float32), "1.bias": np.zeros(3, np.float32)}
DOCUMENT = {"network": NETWORK, "input": INPUT, "multi_label": False}


@pytest.mark.parametrize("runner", ["onnxruntime", "openvino", "torch"])
def test_a_damaged_file_is_refused_as_that(tmp_path, runner):
    blobs = Blobs((tmp_path / "blobs").as_uri())
    graph, weights = blobs.put([graph_bytes()]).sha256, blobs.put([save(WEIGHTS)]).sha256
    precision = "int8" if runner == "openvino" else "float32"
    servable = Servable(graph, InputSpec.model_validate(INPUT), precision, 1000, DOCUMENT, weights)
    beside = TorchProcess(device="cpu", threads=1) if runner == "torch" else None
    load = loader(blobs, 1, beside)
    try:
        load(servable).close()  # while it is sound
        path = blobs.path(weights if runner == "torch" else graph)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(errors.BlobLost, match="damaged"):
            load(servable)
    finally:
        if beside is not None:
            beside.close()
