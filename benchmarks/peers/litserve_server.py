"""ResNet-18 behind LitServe, as its documentation has it: batches of 32, one worker process.

python benchmarks/peers/litserve_server.py {torch|onnx} WEIGHTS_OR_GRAPH PORT THREADS
"""

import base64
import io
import sys
from collections.abc import Callable

import litserve as ls
import numpy as np
from PIL import Image

Array = np.ndarray
Run = Callable[[Array], Array]
BATCH, WAIT_S = 32, 0.01
KIND, FILE, PORT, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
MEAN, STD = (np.array(values, np.float32)[:, None, None] for values in ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


class ResNet(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.run = self._torch() if KIND == "torch" else self._onnx()

    def _torch(self) -> Run:
        import torch
        import torchvision

        torch.set_num_threads(THREADS)
        network = torchvision.models.resnet18(num_classes=10)
        network.load_state_dict(torch.load(FILE, weights_only=True))
        network.eval()

        def run(x_NHWC: Array) -> Array:
            x_NCHW = (x_NHWC.transpose(0, 3, 1, 2).astype(np.float32) / 255 - MEAN) / STD
            with torch.inference_mode():
                return network(torch.from_numpy(x_NCHW)).softmax(1).numpy()

        return run

    def _onnx(self) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(FILE, options, providers=["CPUExecutionProvider"])
        return lambda x_NHWC: np.asarray(session.run(["probabilities"], {"image": x_NHWC})[0])

    def decode_request(self, request: dict[str, str]) -> Array:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("RGB"))

    def batch(self, inputs: list[Array]) -> Array:
        return np.stack(inputs)

    def predict(self, x_NHWC: Array) -> Array:
        return self.run(x_NHWC)

    def unbatch(self, output: Array) -> list[Array]:
        return list(output)

    def encode_response(self, output: Array) -> dict[str, list[dict[str, object]]]:
        top = np.argsort(-output)[:5]
        return {"top": [{"label": str(k), "probability": float(output[k])} for k in top]}


if __name__ == "__main__":
    server = ls.LitServer(ResNet(max_batch_size=BATCH, batch_timeout=WAIT_S), accelerator="cpu", workers_per_device=1)
    server.run(port=PORT, generate_client_file=False, log_level="warning")
