"""Fusion on real digits: five fine-tunes of one MNIST network on optdigits, merged every way that the service knows.

    python benchmarks/fusion.py [--seeds 11 12 13 14 15]

Each seed splits both sets anew, trains the source on MNIST-5k, and fine-tunes it five times on 10 labelled optdigits a
class, with learning rates and seeds of their own.  Jobs run in this process, exactly as in a worker's child.  Writes
docs/fusion.md.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from app.contract.inputs import InputOverride, InputSpec
from app.imaging.packed import PackedImages, PackedWriter
from domains import AFFINE, FRAMES, INPUT, NETWORK, TRAIN, Digits, Made, digits, hits, run
from worker.runtime.contract import Failure

PAGE = Path(__file__).parents[1] / "docs" / "fusion.md"
RATES = (0.0003, 0.001, 0.001, 0.003, 0.01)
TUNE = {"name": "fine_tune", "labels_per_class": 10, "augmentation": AFFINE, "epochs": 20, "batch_size": 32}
MERGES: dict[str, dict[str, Any]] = {
    "`soup`, uniform": {"name": "soup", "kind": "uniform"},
    "`soup`, greedy": {"name": "soup", "kind": "greedy"},
    "`task_arithmetic`": {"name": "task_arithmetic", "scale": "validation"},
    "`ties`": {"name": "ties", "scale": "validation"},
    "`reg_mean`": {"name": "reg_mean"},
    "`distil_ensemble`": {
        "name": "distil_ensemble",
        "network": NETWORK,
        "epochs": 20,
        "batch_size": 64,
        "augmentation": AFFINE,
    },
}


@dataclass(frozen=True)
class Scene:
    """One seed: both sets, the source, and what was tuned from it."""

    there: Digits
    here: Digits
    source: Made
    tuned: dict[str, Made]
    input: InputSpec
    folder: Path
    seed: int

    def merged(self, name: str, method: Mapping[str, Any], sources: Sequence[str]) -> Made:
        teachers = {id_: self.tuned[id_] for id_ in sources}
        if method["name"] == "distil_ensemble":
            whole = dict(method) | {"input": INPUT | FRAMES["optdigits"], "teachers": list(sources)}
            return run(whole, self.here, self.folder / name, self.seed, None, None, teachers)
        whole = dict(method) | {"input": FRAMES["optdigits"], "sources": list(sources)}
        own = {}
        if method["name"] == "reg_mean":
            whole["training_sets"], own = {id_: ["ds_here"] for id_ in sources}, {"ds_here": self.here}
        return run(whole, self.here, self.folder / name, self.seed, self.source, self.there, teachers, own)

    def accuracy(self, made: Made) -> tuple[float, float]:
        """On the test splits of optdigits and of MNIST, each in its own frame."""
        framed = InputOverride(**FRAMES["mnist"]).apply(self.input)
        return float(hits(made, self.here, self.input).mean()), float(hits(made, self.there, framed).mean())


def scene(seed: int, folder: Path) -> Scene:
    there, here = (digits(name, folder / name, seed) for name in ("mnist", "optdigits"))
    source = run(TRAIN | {"input": INPUT | FRAMES["mnist"]}, there, folder / "source", seed, None, None)
    tuned = {}
    for k, rate in enumerate(RATES):
        method = TUNE | {"learning_rate": rate, "input": FRAMES["optdigits"]}
        tuned[f"model_tuned{k}"] = run(method, here, folder / f"tuned{k}", seed + 100 * k, source, None)
    input = InputOverride(**FRAMES["optdigits"]).apply(InputSpec.model_validate(source.document["input"]))
    return Scene(there, here, source, tuned, input, folder, seed)


def soup_row(scene: Scene) -> dict[str, float]:
    """The greedy soup beside its ingredients, on the validation split by which it chose, and on the test split."""
    soup = scene.merged("greedy", MERGES["`soup`, greedy"], list(scene.tuned))
    account = soup.document["transfer"]["fusion"]
    alone = {one["sources"][0]: one for one in account["candidates"] if len(one["sources"]) == 1}
    kept = next(one for one in account["candidates"] if one["sources"] == account["chosen"]["sources"])
    best = max(alone, key=lambda id_: (alone[id_]["accuracy"], -alone[id_]["nll"]))
    each = [scene.accuracy(made)[0] for made in scene.tuned.values()]
    return {
        "best, validation": alone[best]["accuracy"],
        "greedy, validation": kept["accuracy"],
        "members": len(kept["sources"]),
        "mean of five, test": float(np.mean(each)),
        "best, test": scene.accuracy(scene.tuned[best])[0],
        "greedy, test": scene.accuracy(soup)[0],
    }


def curve(scene: Scene) -> list[dict[str, Any]]:
    """Of the fine-tune in the middle: 11 points from the source (0) to the tuned network (1)."""
    made = scene.merged("wise", {"name": "wise_ft"}, ["model_tuned3"])
    return list(made.document["transfer"]["fusion"]["curve"])


def refusal(scene: Scene) -> str:
    """What becomes of a soup of ten and of five classes."""
    few = five_classes(scene)
    try:
        run(
            MERGES["`soup`, uniform"] | {"sources": ["model_tuned0", "model_five"], "input": FRAMES["optdigits"]},
            scene.here,
            scene.folder / "refused",
            scene.seed,
            scene.source,
            None,
            {"model_tuned0": scene.tuned["model_tuned0"], "model_five": few},
        )
    except Failure as failure:
        return f"`{failure.code}`: {failure.message}"
    raise AssertionError("networks of ten and of five classes were merged")


def five_classes(scene: Scene) -> Made:
    """A fine-tune on the digits 0 to 4 alone."""
    folder, packed = scene.folder / "five", PackedImages.open(scene.here.pixels, scene.here.index)
    folder.mkdir()
    rows = np.flatnonzero(packed.label < 5)
    with PackedWriter(folder / "pixels") as writer:
        writer.extend(np.stack([packed[row] for row in rows]))
        writer.finish(folder / "index.npz", np.arange(len(rows)), packed.label[rows], packed.split[rows])
    document = scene.here.document | {"classes": [str(k) for k in range(5)]}
    few = Digits(document, folder / "pixels", folder / "index.npz")
    method = {"name": "fine_tune", "epochs": 1, "input": FRAMES["optdigits"]}
    return run(method, few, folder / "run", scene.seed, scene.source, None)


def interval(values: Sequence[float]) -> str:
    """The mean in points and Student's 95 % interval over seeds."""
    low, high = (
        stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values)) if len(values) > 1 else (0, 0)
    )
    return f"{100 * np.mean(values):+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def percent(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f} ({', '.join(f'{100 * value:.1f}' for value in values)})"


def page(
    seeds: Sequence[int],
    soups: Sequence[Mapping[str, float]],
    curves: Sequence[Sequence[Mapping[str, Any]]],
    merges: Mapping[str, Sequence[tuple[float, float]]],
    refused: str,
) -> str:
    greedy = [f"| {name} | {percent([row[name] for row in soups])} |" for name in soups[0] if name != "members"]
    points = [
        f"| {of_alpha[0]['alpha']:.1f} | {100 * np.mean([p['target']['accuracy'] for p in of_alpha]):.1f} "
        f"| {100 * np.mean([p['source']['accuracy'] for p in of_alpha]):.1f} |"
        for of_alpha in zip(*curves, strict=True)
    ]
    rows = [
        f"| {name} | {percent([a for a, _ in of])} | {percent([b for _, b in of])} |" for name, of in merges.items()
    ]
    better = interval([row["greedy, test"] - row["best, test"] for row in soups])
    members = ", ".join(str(int(row["members"])) for row in soups)
    return "\n".join(
        [
            "# Fusion",
            "",
            f"`python benchmarks/fusion.py --seeds {' '.join(map(str, seeds))}`: MNIST-5k and optdigits at 16×16,",
            "split anew by each seed; a source trained on MNIST-5k, tuned five times on 10 labelled optdigits a class",
            f"(learning rates {', '.join(map(str, RATES))}). Accuracies in %: the mean, and each seed.",
            "",
            "## Greedy soup",
            "",
            f"It kept {members} of five. It chooses by the whole validation split, beyond the fine-tunes' label",
            f"budget; there it is no worse than the best, as it must be. On the test split it is better by {better}.",
            "",
            "| | Accuracy % |",
            "|---|---|",
            *greedy,
            "",
            "## WISE-FT",
            "",
            f"From the source (α = 0) to the fine-tune at learning rate {RATES[3]} (α = 1): `transfer.fusion.curve`.",
            "",
            "| α | optdigits, validation | MNIST, validation |",
            "|---|---|---|",
            *points,
            "",
            "## All merges of the five",
            "",
            "On the test splits of both sets. The greedy soup and the scales of `task_arithmetic` and `ties` are",
            "chosen on optdigits' validation split. The student of `distil_ensemble` is newly drawn and sees optdigits",
            "alone.",
            "",
            "| Merge | optdigits | MNIST |",
            "|---|---|---|",
            *rows,
            "",
            "## What cannot be merged",
            "",
            "A fine-tune with five classes, in a soup with one of ten:",
            "",
            f"> {refused}",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15])
    options = parser.parse_args()
    torch.set_num_threads(1)
    soups, curves, refused = [], [], ""
    merges: dict[str, list[tuple[float, float]]] = {"source, unchanged": [], "mean of the five": []}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            found = scene(seed, Path(folder))
            soups.append(soup_row(found))
            curves.append(curve(found))
            each = [found.accuracy(made) for made in found.tuned.values()]
            merges["source, unchanged"].append(found.accuracy(found.source))
            merges["mean of the five"].append(
                (float(np.mean([a for a, _ in each])), float(np.mean([b for _, b in each])))
            )
            for name, method in MERGES.items():
                made = found.merged(name.strip("`").replace(" ", "_"), method, list(found.tuned))
                merges.setdefault(name, []).append(found.accuracy(made))
            refused = refusal(found)
        print(seed, soups[-1], {name: of[-1] for name, of in merges.items()}, flush=True)
    PAGE.write_text(page(options.seeds, soups, curves, merges, refused))


if __name__ == "__main__":
    main()
