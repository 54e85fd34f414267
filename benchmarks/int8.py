"""Eight bits against float32: how much faster, and what it costs, on a network that was trained on real images.

    python benchmarks/int8.py [--rounds 7] [--images 12000] [--epochs 3]

ResNet-18 at 32×32 is trained on Fashion-MNIST (Debian's dataset-fashion-mnist) and quantised, both by the jobs that the
service runs; then its two graphs answer the same images in turn, each in the runtime that serves it.
"""

import argparse
import gzip
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import ledger
from app.contract.inputs import InputSpec
from app.contract.specs import RunSpec
from app.imaging.packed import PackedImages, PackedWriter
from app.methods.registry import parse
from app.serving.predictor import OnnxPredictor, OpenVinoPredictor, Predictor
from environments import IMAGES
from worker.runs import run_job
from worker.runtime.contract import Result, Spec
from worker.runtime.recorder import Recorder

INPUT = {"size": [32, 32], "channels": 1, "mean": [0.286], "std": [0.353], "fit": "pad"}
NETWORK = {"name": "torchvision/resnet18", "num_classes": 10}
SECONDS = 1.0
NOTE = (
    "ResNet-18 at 32×32, trained for three epochs on 12,000 images of Fashion-MNIST, quantised on 256 of them. Float32 "
    "runs in ONNX Runtime, eight bits in OpenVINO, as they are served."
)


def fashion(folder: Path, count: int) -> dict[str, Path]:
    """`count` training images, a tenth of which validate, and the 10,000 test images, packed."""
    parts = [read_part(name) for name in ("train", "t10k")]
    pixels = np.concatenate([parts[0][0][:count], parts[1][0]])[..., None]
    label_N = np.concatenate([parts[0][1][:count], parts[1][1]]).astype(np.int64)
    split_N = np.full(len(label_N), 2, np.uint8)
    split_N[:count] = np.arange(count) % 10 == 0
    with PackedWriter(folder / "pixels") as writer:
        writer.extend(pixels)
        writer.finish(folder / "index.npz", np.arange(len(label_N)), label_N, split_N)
    return {"target.pixels": folder / "pixels", "target.index": folder / "index.npz"}


def read_part(name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [N,28,28] and labels [N]."""
    files = [
        gzip.decompress((IMAGES / f"{name}-{kind}-ubyte.gz").read_bytes()) for kind in ("images-idx3", "labels-idx1")
    ]
    return np.frombuffer(files[0][16:], np.uint8).reshape(-1, 28, 28), np.frombuffer(files[1][8:], np.uint8)


def run(method: dict[str, Any], inputs: dict[str, Path], folder: Path, source: Result | None) -> Result:
    folder.mkdir()
    kept = source and {name: source.document[name] for name in ("network", "input", "classes", "recipe")}
    payload = {
        "method": parse(method),
        "seed": 0,
        "source": kept,
        "target": {
            "classes": [str(k) for k in range(10)],
            "image": {"height": 28, "width": 28, "channels": 1},
            "mean": INPUT["mean"],
            "std": INPUT["std"],
        },
        "source_dataset": None,
        "teachers": {},
        "environments": {},
    }
    weights = {"source.weights": source.artifacts["weights"]} if source else {}
    spec = Spec("run", "job_benchmark", RunSpec.load(payload), inputs | weights, folder, snapshot_every_s=1e9)
    return run_job.run(spec, Recorder())


def per_s(predictor: Predictor, images_NHWC: NDArray[np.uint8]) -> float:
    """Images a second, in batches of all of them."""
    until, done, began = time.perf_counter() + SECONDS, 0, time.perf_counter()
    while time.perf_counter() < until:
        predictor.predict(images_NHWC)
        done += len(images_NHWC)
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = fashion(folder, args.images)
        train = {"name": "train", "network": NETWORK, "input": INPUT, "epochs": args.epochs, "batch_size": 64}
        trained = run(train, inputs, folder / "train", None)
        limits = {"max_accuracy_drop": 1.0, "max_score_shift": 1.0}  # what it costs is to be seen, whatever it is
        small = run({"name": "quantize"} | limits, inputs, folder / "quantize", trained)
        packed = PackedImages.open(inputs["target.pixels"], inputs["target.index"])
        images_NHWC = packed.fitted(packed.rows("test")[:32], InputSpec.model_validate(INPUT))
        rows = []
        for threads in (1, 2):
            graphs = trained.artifacts["graph"], small.artifacts["quantized"]
            full, eight = OnnxPredictor(graphs[0], threads), OpenVinoPredictor(graphs[1], threads)
            for count in (32, 1):
                some = images_NHWC[:count]
                ratios = [per_s(eight, some) / per_s(full, some) for _ in range(args.rounds)]
                what = f"images a second, batches of {count}, threads: {threads}; int8 over float32"
                least = None if count == 1 else 2.0 if threads == 1 else 1.5
                rows.append(ledger.measured(what, ratios, limit=None if least is None else ("≥", least)))
    lost = small.document["quantization"]
    for split in ("validation", "test"):
        found = lost[split]
        accuracy = found["accuracy"]
        shown = f"{split}, {found['n']:,} images: points lost of {accuracy['float32']:.2%}"
        rows.append(ledger.measured(shown, [100 * found["accuracy_drop"]], digits=2, limit=("≤", 1.0)))
        rows.append(
            ledger.measured(f"{split}: greatest shift of the likeliest class's score", [found["score_shift"]], digits=3)
        )
        rows.append(ledger.measured(f"{split}: mean shift", [found["mean_score_shift"]], digits=4))
    ledger.write("eight bits", "python benchmarks/int8.py", rows, [NOTE])


if __name__ == "__main__":
    main()
