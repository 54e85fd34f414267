"""Coloured images: does learning from two environments find the shape, where colour is the surer sign in both?

    python benchmarks/environments.py [--seeds 5] [--methods erm irm vrex] [--images /usr/share/datasets/fashion-mnist]

Fashion-MNIST (Debian's dataset-fashion-mnist), two labels (its first five classes, its last five), a quarter of which
are wrong; images of 14×14 in red or green.  Colour agrees with the label in .9 and .8 of the two training environments,
.5 of the validation environment, .1 of the test environment (after Arjovsky et al. 2019, section 5.2).  The penalties
have their default weights; the validation environment chooses the epoch.  Writes docs/environments.md.
"""

import argparse
import gzip
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from app.contract.specs import RunSpec
from app.imaging.packed import PackedWriter
from app.methods.registry import parse
from worker.runs import run_job
from worker.runtime import device
from worker.runtime.contract import Spec
from worker.runtime.recorder import Recorder

PAGE = Path(__file__).parents[1] / "docs" / "environments.md"
IMAGES = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ["first five", "last five"]
NOISE = 0.25  # of the labels are wrong
METHODS = ("erm", "irm", "vrex", "coral_dg")
PENALISED = METHODS[1:3]
LAYERS: list[dict[str, Any]] = [
    {"type": "Flatten"},
    {"type": "Linear", "out_features": 64},
    {"type": "ReLU"},
    {"type": "Linear", "out_features": 64},
    {"type": "ReLU"},
    {"name": "head", "type": "Linear", "out_features": 2},
]
COMMON: dict[str, Any] = {
    "network": {"name": "layers", "num_classes": 2, "options": {"layers": LAYERS}},
    "input": {"size": [14, 14], "channels": 3, "mean": [0.15, 0.15, 0.0], "std": [0.3, 0.3, 0.3]},
    "environments": ["ds_train90", "ds_train80"],
    "validation": "ds_validation50",
    "augmentation": "none",
    "batch_size": 256,
    "epochs": 13,
}


class Place(NamedTuple):
    """An environment: which images, how often colour agrees with the label, and what they are for."""

    first: int
    images: int
    agree: float
    split: int


PLACES = {
    "ds_train90": Place(0, 20_000, 0.9, 0),
    "ds_train80": Place(20_000, 20_000, 0.8, 0),
    "ds_validation50": Place(40_000, 10_000, 0.5, 1),
    "target": Place(60_000, 10_000, 0.1, 2),
}


def fashion(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [70000,14,14], the means of four pixels each, and 0 or 1."""
    images, labels = [], []
    for part in ("train", "t10k"):
        images.append(np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:], "u1"))
        labels.append(np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:], "u1"))
    pixels_N2222 = np.concatenate(images).reshape(-1, 14, 2, 14, 2)
    return pixels_N2222.mean((2, 4)).round().astype(np.uint8), (np.concatenate(labels) >= 5).astype(np.int64)


def coloured(
    place: Place, pixels_NHW: NDArray[np.uint8], label_N: NDArray[np.int64], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [n,14,14,3] and the labels, some of which are wrong: colour goes by these."""
    rows = slice(place.first, place.first + place.images)
    wrong_N = random.random(place.images) < NOISE
    noisy_N = np.where(wrong_N, 1 - label_N[rows], label_N[rows])
    colour_N = np.where(random.random(place.images) < place.agree, noisy_N, 1 - noisy_N)
    pixels_NHWC = np.zeros((place.images, 14, 14, 3), np.uint8)
    pixels_NHWC[np.arange(place.images), :, :, colour_N] = pixels_NHW[rows]
    return pixels_NHWC, noisy_N


class Bench:
    """One seed: its four environments on disk."""

    def __init__(self, folder: Path, seed: int, images: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
        self._folder, self._seed, self._jobs = folder, seed, 0
        self._inputs: dict[str, Path] = {}
        random = np.random.default_rng(seed)
        order_N = np.concatenate([random.permutation(60_000), 60_000 + random.permutation(10_000)])
        pixels_NHW, label_N = images[0][order_N], images[1][order_N]
        for name, place in PLACES.items():
            self._pack(name, place, *coloured(place, pixels_NHW, label_N, random))

    def _pack(self, name: str, place: Place, pixels_NHWC: NDArray[np.uint8], label_N: NDArray[np.int64]) -> None:
        role = name if name == "target" else f"environment.{name}"
        pixels, index = self._folder / f"{name}.pixels", self._folder / f"{name}.npz"
        with PackedWriter(pixels) as writer:
            writer.extend(pixels_NHWC)
            writer.finish(index, np.arange(place.images), label_N, np.full(place.images, place.split, np.uint8))
        self._inputs |= {f"{role}.pixels": pixels, f"{role}.index": index}

    def run(self, method: str) -> dict[str, float]:
        """Accuracies: on the validation environment, by which the epoch is chosen, and on the reversed one."""
        self._jobs += 1
        workdir = self._folder / str(self._jobs)
        workdir.mkdir()
        about = {"classes": CLASSES, "image": {"height": 14, "width": 14, "channels": 3}, "mean": [0.1] * 3}
        described = {name: about | {"std": [0.3] * 3, "name": name} for name in PLACES}
        payload = {
            "method": parse(COMMON | {"name": method}),
            "seed": self._seed,
            "source": None,
            "source_dataset": None,
            "target": described.pop("target"),
            "teachers": {},
            "environments": described,
        }
        recorder = Recorder()
        spec = Spec("run", "job_benchmark", RunSpec.load(payload), self._inputs, workdir, snapshot_every_s=1e9)
        result = run_job.run(spec, recorder)
        accuracies = recorder.series("accuracy", "validation")
        kept = accuracies[-len(accuracies) // 2 :] if method in PENALISED else accuracies  # those after the turn
        found = {"validation": max(kept), "test": result.document["evaluation"]["target"]["accuracy"]}
        print(json.dumps({"seed": self._seed, "method": method, **found}), flush=True)
        return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    lines = [
        "| Method | Validation environment (.5) | Reversed environment (.1): mean | Each seed |",
        "|---|---|---|---|",
    ]
    for method, runs in found.items():
        tests = [run["test"] for run in runs]
        spread = f" ± {statistics.stdev(tests):.1%}" if len(tests) > 1 else ""
        validation = statistics.mean(run["validation"] for run in runs)
        each = ", ".join(f"{test:.1%}" for test in tests)
        lines.append(f"| `{method}` | {validation:.1%} | {statistics.mean(tests):.1%}{spread} | {each} |")
    return "\n".join(lines)


def page(rows: str, seeds: int, methods: Sequence[str]) -> str:
    return f"""# Learning from several environments

`python benchmarks/environments.py --seeds {seeds} --methods {" ".join(methods)}`, on a CPU, {torch.get_num_threads()}
thread. Fashion-MNIST at 14×14, two labels (its first five classes, its last five), a quarter of them wrong: nobody can
be right of more than 75 % by the shape alone. Each image is red or green. Colour agrees with the label, as it is given,
in .9 and .8 of the two training environments (20,000 images each), in .5 of the validation environment (10,000), in .1
of the test environment (10,000 of Fashion-MNIST's test images). Who goes by colour is right of 85 % in training, and of
10 % there.

A network of two hidden layers of 64, 1,027 steps of 256 images of each environment, AdamW at 0.001, no augmentation;
the penalty gets its weight, the method's default, at step 500. Nothing was tuned but this: the epoch is chosen by the
accuracy on the validation environment, for all methods alike (of `irm` and `vrex` among those after step 500). The test
environment has decided nothing. ± is the standard deviation over seeds.

{rows}

At a weight of 10 `vrex` hardly left the colour within these steps (12.0 %, measured with 0.1.0): the variance of two
losses is small beside their mean. Its default is now that of its paper, 10⁴. `coral_dg` cannot leave the colour: it has
the same moments in both environments, only what it goes with differs.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--images", type=Path, default=IMAGES)
    options = parser.parse_args()
    device.keep_memory()
    images = fashion(options.images)
    found: dict[str, list[dict[str, float]]] = {method: [] for method in options.methods}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), seed, images)
            for method in options.methods:
                found[method].append(bench.run(method))
    rows = table(found)
    PAGE.write_text(page(rows, options.seeds, options.methods))
    print(rows)


if __name__ == "__main__":
    main()
