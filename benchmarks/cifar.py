"""CIFAR-10 → CIFAR-100, on photographs: what a network trained on ten classes is worth for a hundred others.

    python benchmarks/cifar.py --cifar10 FOLDER --cifar100 FOLDER --weights resnet20-12fca82f.th

The folders have `train/CLASS/*.png` and `test/CLASS/*.png` (the repositories cyizhuo/CIFAR-10-dataset and
cyizhuo/CIFAR-100-dataset have them so).  Sources: `cnn3`, trained here on CIFAR-10's training images, and the published
ResNet-20 (akamaster/pytorch_resnet_cifar10, `pretrained_models`).  Every arm sees the same labels of a seed and nothing
else: no validation images, the last weights are kept.  All goes over HTTP to a service whose folder stays, and what was
measured is kept: an interrupted run goes on where it was.  Prints the tables in Markdown.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contest import photographs, report
from contest.report import Accuracies
from contest.service import Bench, Outcome, opened

WORK = Path(__file__).parents[1] / ".benchmarks" / "cifar"
FULL = 500  # labels a class: all there are
LABELS = (10, 5, 1, 50, FULL)
Method = dict[str, Any]
# All on their defaults, but for what the names say.
ARMS: dict[str, Method] = {
    "scratch": {"name": "train"},
    "scratch, 1,200 steps": {"name": "train"},
    "logistic_regression": {"name": "logistic_regression"},
    "linear_probe": {"name": "linear_probe"},
    "fine_tune": {"name": "fine_tune"},
    "fine_tune, adamw, one rate": {"name": "fine_tune", "optimizer": "adamw", "backbone_factor": 1.0},
    "lp_ft": {"name": "lp_ft"},
    "fine_tune + l2_sp": {"name": "fine_tune", "terms": [{"name": "l2_sp"}]},
    "fine_tune + lwf": {"name": "fine_tune", "terms": [{"name": "lwf"}]},
}
LONGER = "scratch, 1,200 steps"
FLIPPED = [{"name": "random_crop", "padding": 4}, {"name": "horizontal_flip"}]
SOURCE: Method = {"name": "train", "network": {"name": "cnn3", "num_classes": 10}, "augmentation": FLIPPED}
NETWORKS: dict[str, Method] = {
    "cnn3": {"name": "cnn3", "num_classes": 100},
    "resnet20": {"name": "cifar_resnet", "num_classes": 100, "options": {"depth": 20}},
}
NO_MORE = {"train": 1.0, "validation": 0.0, "test": 0.0}  # splits than the folders have
STEPS, BATCH = 1200, 64  # of the longer baseline: four times the steps of a run on defaults


class Study:
    """One source, and what becomes of it on CIFAR-100."""

    def __init__(self, bench: Bench, source: str, options: argparse.Namespace) -> None:
        self.source, self._bench, self._options = source, bench, options
        self._ten = self._dataset(10, options.cifar10)
        self._hundred = self._dataset(100, options.cifar100)
        self._checkpoint = self._published() if source == "resnet20" else self._trained()

    def unchanged(self) -> Outcome:
        """The source on CIFAR-10's test images."""
        request = {"checkpoint": self._checkpoint, "dataset": self._ten, "method": {"name": "evaluate"}}
        return self._bench.job(f"{self.source} on CIFAR-10", **request)

    def arm(self, name: str, labels: int, seed: int) -> Outcome:
        request: dict[str, Any] = {"dataset": self._hundred, "seed": seed}
        if ARMS[name]["name"] != "train":
            request |= {"checkpoint": self._checkpoint, "source_dataset": self._ten}
        method = ARMS[name] | self._length(name, labels)
        if method["name"] == "train":
            method |= {"network": NETWORKS[self.source]}
        return self._bench.job(f"{self.source}, {name}, {labels} a class, seed {seed}", method=method, **request)

    def _length(self, name: str, labels: int) -> Method:
        """How many labels a run sees and, where that is not left to the service, how often."""
        if labels == FULL:
            return {} if name == "logistic_regression" else {"epochs": self._options.epochs}
        longer = {"batch_size": BATCH, "epochs": math.ceil(STEPS * BATCH / (100 * labels))} if name == LONGER else {}
        return {"labels_per_class": labels} | longer

    def _dataset(self, count: int, folder: Path) -> str:
        name = f"CIFAR-{count}"
        test = None if self._options.test is None else self._options.test // count

        def pack(path: Path) -> None:
            train = photographs.classes(folder / "train")
            judged = photographs.some(photographs.classes(folder / "test"), test)
            photographs.pack(path, {"train": train, "test": judged})

        metadata = {"test": str(self._options.test)}
        return self._bench.dataset(name, pack, splits=NO_MORE, metadata=metadata)

    def _published(self) -> str:
        network = {"name": "cifar_resnet", "num_classes": 10, "options": {"depth": 20}}
        names = list(photographs.classes(self._options.cifar10 / "train"))
        return self._bench.checkpoint("ResNet-20", self._options.weights, network=network, classes=names)

    def _trained(self) -> str:
        method = SOURCE | ({"epochs": self._options.source_epochs} if self._options.source_epochs else {})
        made = self._bench.job("cnn3, learning CIFAR-10", keep=True, dataset=self._ten, method=method, seed=0)
        if made.model is None:
            raise SystemExit(f"cnn3 was not trained: {made.refused}")
        return made.model


def tables(studies: Mapping[str, Mapping[str, Mapping[int, Sequence[Outcome]]]]) -> str:
    parts = []
    for source, arms in studies.items():
        found: dict[str, dict[int, list[float]]] = {
            arm: {
                labels: [one.target for one in outcomes if one.target is not None] for labels, outcomes in row.items()
            }
            for arm, row in arms.items()
        }
        parts += [f"### From `{source}`: CIFAR-100", report.accuracies(found)]
        if report.SCRATCH in found:
            others = [name for name in found if name != report.SCRATCH]
            parts += ["Against scratch:", report.gains(found, report.SCRATCH, others)]
        parts += ["What is left of CIFAR-10, the source's own head on what became of its backbone:", _left(arms)]
    return "\n\n".join(parts)


def _known(outcomes: Sequence[Outcome]) -> list[float]:
    return [one.target for one in outcomes if one.target is not None]


def _left(arms: Mapping[str, Mapping[int, Sequence[Outcome]]]) -> str:
    """Accuracies on the source's test images after the transfer; the unchanged source first."""
    after: dict[str, dict[int, list[float]]] = {}
    for arm, row in arms.items():
        for labels, outcomes in row.items():
            for one in outcomes:
                if one.source is not None and one.source_before is not None:
                    after.setdefault(arm, {}).setdefault(labels, []).append(one.source)
                    after.setdefault("unchanged", {}).setdefault(labels, []).append(one.source_before)
    unchanged: Accuracies = {name: after[name] for name in sorted(after, key=lambda name: name != "unchanged")}
    return report.accuracies(unchanged) if unchanged else "Nothing was measured."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--cifar100", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="of the published ResNet-20")
    parser.add_argument("--sources", nargs="+", choices=list(NETWORKS), default=["resnet20", "cnn3"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--labels", type=int, nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--test", type=int, help="images of each test set, the same number of each class; default: all")
    parser.add_argument("--epochs", type=int, default=30, help="where all labels are seen")
    parser.add_argument("--source-epochs", type=int, help="of cnn3 on CIFAR-10; default: the service's")
    parser.add_argument("--work", type=Path, default=WORK, help="where the service and its figures stay")
    options = parser.parse_args()
    if "resnet20" in options.sources and options.weights is None:
        parser.error("--weights: the published ResNet-20 is a source")
    with opened(options.work) as (_, bench):
        studies = {}
        for source in options.sources:
            study = Study(bench, source, options)
            study.unchanged()
            studies[source] = {arm: {n: [] for n in options.labels} for arm in options.arms}
            for labels in options.labels:
                for seed in options.seeds:
                    for arm in options.arms:
                        studies[source][arm][labels].append(study.arm(arm, labels, seed))
    print(f"\n{tables(studies)}")


if __name__ == "__main__":
    main()
