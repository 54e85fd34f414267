"""Whether pre-training on unlabelled optdigits helps a linear probe on five labels a class.

    python benchmarks/pretraining.py [--seeds 3] [--methods simclr vicreg byol rotation]

For each seed a network is drawn at random.  It is probed as it is, and after learning from the training images without
their labels.  Both probes see the same 50 labels, and each has the learning rate (of .1 and 1) that is best on the
50 validation labels.  Writes docs/pretraining.md.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import RunSpec
from app.imaging.packed import PackedWriter
from app.methods.registry import parse
from worker.networks import build
from worker.runs import run_job
from worker.runtime import device
from worker.runtime.contract import Result, Spec
from worker.runtime.recorder import Recorder

PAGE = Path(__file__).parents[1] / "docs" / "pretraining.md"
CLASSES = [str(digit) for digit in range(10)]
RATES = (0.1, 1.0)
CONV: dict[str, Any] = {"type": "Conv2d", "kernel_size": 3, "padding": 1}
LAYERS: list[dict[str, Any]] = [
    CONV | {"out_channels": 16},
    {"type": "ReLU"},
    CONV | {"out_channels": 32},
    {"type": "ReLU"},
    {"type": "MaxPool2d", "kernel_size": 2},
    CONV | {"out_channels": 64},
    {"type": "ReLU"},
    {"type": "AdaptiveAvgPool2d", "output_size": 2},
    {"type": "Flatten"},
    {"name": "head", "type": "Linear", "out_features": 10},
]
NETWORK: dict[str, Any] = {"name": "layers", "num_classes": 10, "options": {"layers": LAYERS}}
VIEWS: dict[str, Any] = {
    "augmentation": [{"name": "affine", "degrees": 15, "translate": 0.15, "scale": [0.7, 1.3]}],
    "hidden": 128,
    "dimensions": 64,
}
PRETEXTS: dict[str, dict[str, Any]] = {"simclr": VIEWS, "vicreg": VIEWS, "byol": VIEWS, "rotation": {}}


def dataset(folder: Path, seed: int) -> tuple[dict[str, Any], dict[str, Path]]:
    """optdigits, 8×8: 60 % train, 20 % validation, 20 % test, in proportion by class."""
    digits = load_digits()
    pixels_NHWC = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    place_N = np.arange(len(pixels_NHWC))
    _, rest_N = train_test_split(place_N, train_size=0.6, stratify=digits.target, random_state=seed)
    validation_N, test_N = train_test_split(rest_N, train_size=0.5, stratify=digits.target[rest_N], random_state=seed)
    split_N = np.zeros(len(place_N), np.uint8)
    split_N[validation_N], split_N[test_N] = 1, 2
    paths = {"target.pixels": folder / "pixels", "target.index": folder / "index.npz"}
    with PackedWriter(paths["target.pixels"]) as writer:
        writer.extend(pixels_NHWC)
        writer.finish(paths["target.index"], place_N, digits.target.astype(np.int64), split_N)
    image = {"height": 8, "width": 8, "channels": 1}
    return {"classes": CLASSES, "image": image, "mean": [0.31], "std": [0.38]}, paths


def drawn(folder: Path, seed: int, input: InputSpec) -> Path:
    torch.manual_seed(seed)
    path = folder / "drawn.safetensors"
    save_file(build.build(NetworkSpec.model_validate(NETWORK), input).state_dict(), path)
    return path


class Bench:
    """One seed: its data, its network, and the jobs on them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed, self._jobs = folder, seed, 0
        self._target, self._paths = dataset(folder, seed)
        self.input = InputSpec(size=(8, 8), channels=1, mean=(0.31,), std=(0.38,))
        self.source = self._described(NETWORK, CLASSES, drawn(folder, seed, self.input))

    def pretrain(self, method: str) -> tuple[tuple[dict[str, Any], Path], Result]:
        result, _ = self.run({"name": method, "batch_size": 64, **PRETEXTS[method]}, self.source)
        found = self._described(result.document["network"], result.document["classes"], result.artifacts["weights"])
        return found, result

    def probe(self, source: tuple[dict[str, Any], Path]) -> float:
        """Test accuracy, at the learning rate that is best on the validation labels."""
        return max(self._probe(source, rate) for rate in RATES)[1]

    def _probe(self, source: tuple[dict[str, Any], Path], rate: float) -> tuple[float, float]:
        method = {"name": "linear_probe", "labels_per_class": 5, "learning_rate": rate}
        result, recorder = self.run(method, source)
        return max(recorder.series("accuracy", "validation")), result.document["evaluation"]["target"]["accuracy"]

    def run(self, method: dict[str, Any], source: tuple[dict[str, Any], Path]) -> tuple[Result, Recorder]:
        self._jobs += 1
        workdir = self._folder / str(self._jobs)
        workdir.mkdir()
        payload = {
            "method": parse(method),
            "seed": self._seed,
            "source": source[0],
            "target": self._target,
            "source_dataset": None,
            "teachers": {},
            "environments": {},
        }
        recorder = Recorder()
        inputs = self._paths | {"source.weights": source[1]}
        spec = Spec("run", "job_benchmark", RunSpec.load(payload), inputs, workdir, snapshot_every_s=1e9)
        return run_job.run(spec, recorder), recorder

    def _described(self, network: dict[str, Any], classes: list[str], weights: Path) -> tuple[dict[str, Any], Path]:
        document = {"network": network, "input": self.input.model_dump(mode="json"), "classes": classes, "recipe": None}
        return document, weights


def measure(seed: int, methods: Sequence[str]) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), seed)
        found = {"random": {"probe": bench.probe(bench.source)}}
        print(json.dumps({"seed": seed, "method": None, **found["random"]}), flush=True)
        for method in methods:
            source, result = bench.pretrain(method)
            knn = result.document["transfer"]["features"]["knn"]["accuracy"]
            found[method] = {"probe": bench.probe(source), "knn": knn}
            print(json.dumps({"seed": seed, "method": method, **found[method]}), flush=True)
    return found


def table(found: Sequence[dict[str, dict[str, float]]]) -> str:
    lines = [
        f"| Pre-training | Probe, 5 labels a class: mean of {len(found)} seeds | Each seed | Gain, points | k-NN |",
        "|---|---|---|---|---|",
    ]
    for method in found[0]:
        probes = [one[method]["probe"] for one in found]
        gain = statistics.mean(one[method]["probe"] - one["random"]["probe"] for one in found) * 100
        knn = [one[method]["knn"] for one in found if "knn" in one[method]]
        lines.append(
            f"| {'none (random network)' if method == 'random' else f'`{method}`'} | {statistics.mean(probes):.1%} "
            f"| {', '.join(f'{probe:.1%}' for probe in probes)} | {'–' if method == 'random' else f'{gain:+.1f}'} "
            f"| {f'{statistics.mean(knn):.1%}' if knn else '–'} |"
        )
    return "\n".join(lines)


def page(rows: str, seeds: int, methods: Sequence[str]) -> str:
    return f"""# Pre-training without labels

`python benchmarks/pretraining.py --seeds {seeds} --methods {" ".join(methods)}`, on a CPU, {torch.get_num_threads()}
thread. optdigits, 8×8: 60 % of the images to learn from, 20 % each to validate and to test (359 or 360), split anew
for each seed. The network is three convolutions (16, 32, 64 channels, no batch norm); the one that is pre-trained is
the one that is probed as it was drawn. Batches of 64, at least 1,000 steps, the methods' other defaults; two views by
`affine` (±15°, shifts of 15 %, 0.7 to 1.3 times the size). Nothing was tuned on the test images; each probe has the
learning rate (of 0.1 and 1) that is best on its 50 validation labels. k-NN is that of the method's own report, whose
neighbours have labels: all of the training images', so it is no figure of few labels.

{rows}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=list(PRETEXTS), default=list(PRETEXTS))
    options = parser.parse_args()
    device.keep_memory()
    rows = table([measure(seed, options.methods) for seed in range(options.seeds)])
    PAGE.write_text(page(rows, options.seeds, options.methods))
    print(rows)


if __name__ == "__main__":
    main()
