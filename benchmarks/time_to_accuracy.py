"""Seconds to an accuracy on a GPU, beside airbench, a published recipe that is tuned for one dataset.

    pip install airbench
    python benchmarks/time_to_accuracy.py [--fashion FOLDER] [--rounds 5] [--epochs 10 14]

Fashion-MNIST in the shape of CIFAR-10 (32×32, three equal channels): 60,000 images, and 10,000 for the test.  `FOLDER`
has the four files of the dataset (Debian's `dataset-fashion-mnist`).  Both run once before, so that no kernel is chosen
or loaded within the time.  Needs PyTorch and torchvision, and neither FastAPI nor a database.

airbench  `train94` as it is published: whitening, half precision, 9.9 epochs of batches of 1,024; no flips at the test
ours      the layers of that network, PyTorch's initialisation, and what every training offers: `RECIPE`, with the best
          of `RATES` on the last 5,000 training images, which it does not learn from in that search
"""

import argparse
import gzip
import math
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import ledger
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.methods.training import Training
from worker.data.batches import Images
from worker.methods import supervision
from worker.methods.supervision import Examples
from worker.methods.task import Task
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

CUDA = torch.device("cuda")
CLASSES = [str(k) for k in range(10)]
KINDS = ("images-idx3", "labels-idx1")
HELD_OUT = 5_000
SPEC = InputSpec(size=(32, 32), channels=3, mean=(0.219,) * 3, std=(0.332,) * 3)
RECIPE: dict[str, Any] = {
    "batch_size": 1024,
    "weight_decay": 5e-4,
    "warmup_epochs": 2,
    "label_smoothing": 0.1,
    "average": 0.99,
    "precision": "bfloat16",
    "augmentation": [{"name": "random_crop", "padding": 2}, {"name": "horizontal_flip"}],
}
RATES = (0.4, 0.8, 1.2)


def fashion(folder: Path, split: str) -> Images:
    """uint8 [N,32,32,3]."""
    packed = [gzip.decompress((folder / f"{split}-{kind}-ubyte.gz").read_bytes()) for kind in KINDS]
    pixels_NHW = torch.from_numpy(np.frombuffer(packed[0], np.uint8, offset=16).reshape(-1, 28, 28).copy())
    label_N = torch.from_numpy(np.frombuffer(packed[1], np.uint8, offset=8).astype(np.int64))
    return Images(F.pad(pixels_NHW, (2, 2, 2, 2))[..., None].repeat(1, 1, 1, 3), label_N)


def network() -> nn.Module:
    """A convolution of 2×2, three groups of two of 3×3, a linear layer."""
    after = [{"type": "BatchNorm2d"}, {"type": "GELU"}]
    layers: list[dict[str, Any]] = [{"type": "Conv2d", "out_channels": 24, "kernel_size": 2}, {"type": "GELU"}]
    for width in (64, 256, 256):
        conv = {"type": "Conv2d", "out_channels": width, "kernel_size": 3, "padding": 1, "bias": False}
        layers += [conv, {"type": "MaxPool2d", "kernel_size": 2}, *after, conv, *after]
    layers += [{"type": "MaxPool2d", "kernel_size": 3}, {"type": "Flatten"}, {"type": "Linear", "out_features": 10}]
    return build.build(NetworkSpec(name="layers", num_classes=10, options={"layers": layers}), SPEC)


def ours(seen: Images, tested: Images, seed: int, **changes: Any) -> tuple[float, float]:
    """Seconds of a whole training, the pixels' way to the device in them, and the accuracy it comes to."""
    params = Training.model_validate(RECIPE | changes).resolve(len(seen), SPEC.size)
    torch.manual_seed(seed)
    torch.cuda.synchronize()
    began = time.perf_counter()
    made = network()
    learner = Classifier(made, Structure.of(made, SPEC), SPEC, CLASSES)
    device.place(made, CUDA)
    with tempfile.TemporaryDirectory() as folder, device.reproducible(CUDA, seed):
        run = Run(Recorder(), Path(folder), device=CUDA, snapshot_every_s=math.inf)
        nothing = Images(seen.pixels_NHWC[:0], seen.label_N[:0])
        supervision.learn(Task(run, target=None), learner, params, Examples(seen, nothing))
    torch.cuda.synchronize()
    return time.perf_counter() - began, accuracy(made.eval(), tested)


@torch.inference_mode()
def accuracy(made: nn.Module, tested: Images) -> float:
    right = 0
    for x_BHWC, label_B in zip(tested.pixels_NHWC.split(2000), tested.label_N.split(2000), strict=True):
        x_BCHW = x_BHWC.to(CUDA).permute(0, 3, 1, 2).float().div(255).sub(SPEC.mean[0]).div(SPEC.std[0])
        right += int((made(x_BCHW).argmax(1).cpu() == label_B).sum())
    return right / len(tested)


class Airbench:
    """The package, given Fashion-MNIST in the place of CIFAR-10; its pixels are on the device already."""

    def __init__(self, seen: Images, tested: Images) -> None:
        import airbench
        from airbench import utils

        self._package = airbench
        with tempfile.TemporaryDirectory() as folder:
            for name, images in (("train", seen), ("test", tested)):
                kept = {"images": images.pixels_NHWC, "labels": images.label_N, "classes": CLASSES}
                torch.save(kept, Path(folder) / f"{name}.pt")
            augmented = {"flip": True, "translate": 2}
            self._train = airbench.CifarLoader(folder, train=True, batch_size=1024, aug=augmented, altflip=True)
            self._test = airbench.CifarLoader(folder, train=False, batch_size=2000)
        utils.CifarLoader = lambda *_, **__: self._test  # it would look for a file of CIFAR-10

    def __call__(self, seed: int) -> tuple[float, float]:
        """Seconds of a training, and the accuracy it comes to."""
        torch.manual_seed(seed)
        torch.cuda.synchronize()
        began = time.perf_counter()
        made = self._package.train94(self._train, run=1, verbose=False)
        torch.cuda.synchronize()
        return time.perf_counter() - began, self._package.evaluate(made, self._test)


def choose(seen: Images, epochs: int, seed: int = 100) -> float:
    """The learning rate that is best on the images held out."""
    rest = Images(seen.pixels_NHWC[:-HELD_OUT], seen.label_N[:-HELD_OUT])
    held_out = Images(seen.pixels_NHWC[-HELD_OUT:], seen.label_N[-HELD_OUT:])
    found = {rate: ours(rest, held_out, seed, epochs=epochs, learning_rate=rate) for rate in RATES}
    print({rate: f"{right:.4f} in {seconds:.2f} s" for rate, (seconds, right) in found.items()}, flush=True)
    return max(found, key=lambda rate: found[rate][1])


def contest(seen: Images, tested: Images, rounds: int, lengths: list[int]) -> list[ledger.Row]:
    theirs = Airbench(seen, tested)
    theirs(0)
    rate = choose(seen, lengths[0])
    found: dict[object, list[tuple[float, float]]] = {length: [] for length in ("airbench", *lengths)}
    for seed in range(1, rounds + 1):
        found["airbench"].append(theirs(seed))
        for length in lengths:
            found[length].append(ours(seen, tested, seed, epochs=length, learning_rate=rate))
    rows = []
    for name, pairs in found.items():
        what = "airbench's train94" if name == "airbench" else f"ours, {name} epochs at {rate}"
        seconds, right = zip(*pairs, strict=True)
        rows += [ledger.measured(f"{what}: seconds", seconds), ledger.measured(f"{what}: accuracy", right, digits=4)]
    goal = statistics.fmean(right for _, right in found["airbench"])
    reaching = [length for length in lengths if statistics.fmean(right for _, right in found[length]) >= goal]
    if reaching:
        both = zip(found["airbench"], found[reaching[0]], strict=True)
        shares = [mine / other for (other, _), (mine, _) in both]
        rows.append(ledger.measured(f"seconds of ours to its mean accuracy ({reaching[0]} epochs), over its", shares))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 14])
    options = parser.parse_args()
    seen, tested = fashion(options.fashion, "train"), fashion(options.fashion, "t10k")
    rows = contest(seen, tested, options.rounds, options.epochs)
    for row in rows:
        print(row)
    card = f"{torch.cuda.get_device_name(CUDA)}, CUDA {torch.version.cuda}, {platform.node()}"
    ledger.write("GPU: time to accuracy", "python benchmarks/time_to_accuracy.py", rows, [card])


if __name__ == "__main__":
    main()
