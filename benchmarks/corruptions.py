"""CIFAR-10 under fourteen corruptions (Hendrycks & Dietterich 2019, severity 5), a published network, no labels.

    python benchmarks/corruptions.py --cifar10 FOLDER --weights resnet20-12fca82f.th [--images 2000]

`FOLDER` has `test/CLASS/*.png` (the repository cyizhuo/CIFAR-10-dataset), the weights are those of
akamaster/pytorch_resnet_cifar10.  The corruptions are made here (`contest/corrupt.py`), from a seed.  As published, a
method adapts to the very images that it is measured on, and sees no label; `tent on a stream` answers each request of
200 images before the step on it (`adapt=tent`).  All goes over HTTP to a service whose folder stays, and what was
measured is kept.  Prints the errors in percent in Markdown.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from contest import corrupt, photographs, report
from contest.service import Bench, opened
from regraft import Client

WORK = Path(__file__).parents[1] / ".benchmarks" / "corruptions"
STREAM, REQUEST = "tent on a stream", 200
METHODS: dict[str, dict[str, Any]] = {
    "source": {"name": "evaluate"},
    "adabn": {"name": "adabn"},
    "adabn, prior 16": {"name": "adabn", "prior": 16},
    "tent": {"name": "tent"},
    "eata": {"name": "eata"},
    "sar": {"name": "sar"},
    "shot": {"name": "shot"},
}
NETWORK = {"name": "cifar_resnet", "num_classes": 10, "options": {"depth": 20}}
Errors = dict[str, dict[str, float]]  # in percent, by method and corruption


class Corrupted:
    """The images under a corruption, made as files when they are first wanted."""

    def __init__(self, clean: Mapping[str, list[Path]], name: str, seed: int, folder: Path) -> None:
        self._clean, self._name, self._seed, self._folder = clean, name, seed, folder

    @cached_property
    def images(self) -> dict[str, list[Path]]:
        random = np.random.default_rng(self._seed)
        return {label: [self._made(image, label, random) for image in images] for label, images in self._clean.items()}

    def _made(self, image: Path, label: str, random: np.random.Generator) -> Path:
        path = self._folder / label / f"{image.stem}.png"
        path.parent.mkdir(exist_ok=True)
        pixels_HWC = corrupt.apply(self._name, np.asarray(Image.open(image).convert("RGB")), random)
        Image.fromarray(pixels_HWC).save(path)
        return path

    def pack(self, path: Path) -> None:
        photographs.pack(path, {"train": self.images, "test": self.images})

    def streamed(self, client: Client, checkpoint: str) -> float:
        """The share of right answers to requests of 200 images in a random order, each answered before its step."""
        pairs = [(path, label) for label, paths in self.images.items() for path in paths]
        order = [pairs[place] for place in np.random.default_rng(self._seed).permutation(len(pairs))]
        client.checkpoints.reset_adaptation(checkpoint)
        right = 0
        for start in range(0, len(order), REQUEST):
            part = order[start : start + REQUEST]
            answers = client.checkpoints.predict(checkpoint, [path for path, _ in part], top_k=1, adapt="tent")
            right += sum(answer.label == label for answer, (_, label) in zip(answers, part, strict=True))
        return right / len(order)


def measure(client: Client, bench: Bench, options: argparse.Namespace) -> Errors:
    clean = photographs.classes(options.cifar10 / "test")
    some = photographs.some(clean, options.images // len(clean))
    checkpoint = bench.checkpoint("ResNet-20", options.weights, network=NETWORK, classes=list(clean))
    asked = {"seed": str(options.seed), "images": str(options.images)}
    errors: Errors = {name: {} for name in options.methods}
    for corruption in options.corruptions:
        with tempfile.TemporaryDirectory() as name:
            target = Corrupted(some, corruption, options.seed, Path(name))
            dataset = bench.dataset(corruption, target.pack, metadata=asked)
            for method in options.methods:
                what = f"{corruption}, {method}"
                if method == STREAM:
                    stream = partial(target.streamed, client, checkpoint)
                    accuracy: float | None = bench.figure(what, {"stream": dataset} | asked, stream)
                else:
                    request = {"checkpoint": checkpoint, "dataset": dataset, "method": METHODS[method]}
                    accuracy = bench.job(what, seed=options.seed, **request).target
                if accuracy is not None:
                    errors[method][corruption] = 100 * (1 - accuracy)
    return errors


def table(errors: Errors, corruptions: list[str]) -> str:
    rows = []
    for name, found in errors.items():
        cells = [f"{found[one]:.1f}" if one in found else "–" for one in corruptions]
        whole = len(found) == len(corruptions)
        rows.append([name, f"{statistics.fmean(found.values()):.1f}" if whole else "–", *cells])
    return report.table(["error %", "mean", *(one.replace("_", " ") for one in corruptions)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=int, default=10_000, help="of the test set, the same number of each class")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, STREAM], default=[*METHODS, STREAM])
    parser.add_argument(
        "--corruptions", nargs="+", choices=list(corrupt.CORRUPTIONS), default=list(corrupt.CORRUPTIONS)
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=WORK, help="where the service and its figures stay")
    options = parser.parse_args()
    with opened(options.work) as (client, bench):
        errors = measure(client, bench, options)
    print(f"\n{table(errors, options.corruptions)}")


if __name__ == "__main__":
    main()
