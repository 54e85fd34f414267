"""Whether the defaults win: `fine_tune` as it is beside scratch, probe and a search of its parameters; docs/results.md.

    python benchmarks/defaults.py --pacs FOLDER --cifar10 FOLDER --cifar100 FOLDER --lite0 FILE --resnet20 FILE

Of each pair of `default_pairs.PAIRS` and each number of labels a class: the mean test accuracy over three seeds of
`fine_tune`, of `train` on the same network and of `linear_probe`, nothing said but their names; and of the settings of
`fine_tune` that were best of 18 on tuning seeds, within the images that labels are drawn from.  Every measurement is a
line of `benchmarks/measured/defaults.jsonl`, and is not made again while what it hangs on, the resolved defaults among
it, is the same: an interrupted run goes on where it was, on another machine, too.  Prints Markdown of what is measured
so far; `--only` names pairs, `--report` measures nothing.
"""

import argparse
import hashlib
import itertools
import json
import math
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import default_pairs as pairs
from app.contract.inputs import InputSpec
from app.contract.layers import with_classes
from app.contract.networks import NetworkSpec
from app.contract.specs import DatasetSpec
from app.methods.registry import parse
from contest import stats
from contest.data import Packed
from default_pairs import PAIRS, Places
from worker.methods import measure
from worker.methods.registry import METHODS
from worker.methods.task import Adapted, Domain, Source, Task
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "benchmarks" / "measured" / "defaults.jsonl"
Arm = Literal["fine_tune", "train", "linear_probe", "search"]
ARMS: tuple[Arm, ...] = ("fine_tune", "train", "linear_probe", "search")
LABELS = (5, 20, 80)
SEEDS, TUNING_SEEDS = (0, 1, 2), (100,)
TRIES = 18

CROP = [{"name": "random_crop"}]
FLIPPED = [*CROP, {"name": "horizontal_flip"}]
AXES: list[list[dict[str, Any]]] = [
    [{"optimizer": "sgd", "learning_rate": rate} for rate in (0.003, 0.01, 0.03)]
    + [{"optimizer": "adamw", "learning_rate": rate} for rate in (3e-4, 1e-3, 3e-3)],
    [{"backbone_factor": factor} for factor in (0.1, 0.3, 1.0)],
    [{"frozen_epochs": epochs} for epochs in (0, 1, 10)],
    [{"augmentation": "none"}, {"augmentation": CROP}, {"augmentation": FLIPPED}],
]


def tries() -> list[dict[str, Any]]:
    """What the search tries: always the same."""
    every = [{name: value for part in choice for name, value in part.items()} for choice in itertools.product(*AXES)]
    return random.Random(0).sample(every, TRIES)


@dataclass(frozen=True)
class Cell:
    """One measurement: `settings` are what is said of the method `name` beside its budget."""

    pair: str
    name: str
    settings: str  # JSON
    labels: int
    seed: int
    tuning: bool = False

    @property
    def method(self) -> dict[str, Any]:
        return {"name": self.name, "labels_per_class": self.labels} | json.loads(self.settings)


def default(pair: str, arm: str, labels: int, seed: int) -> Cell:
    return Cell(pair, arm, "{}", labels, seed)


def tried(pair: str, settings: dict[str, Any], labels: int, seed: int, *, tuning: bool) -> Cell:
    return Cell(pair, "fine_tune", json.dumps(settings), labels, seed, tuning)


def source(pair: str, places: Places) -> Source:
    path = places.work / "sources" / f"{PAIRS[pair].source}-{PAIRS[pair].side}.safetensors"
    about = json.loads(path.with_suffix(".json").read_text())
    spec, input = NetworkSpec.model_validate(about["network"]), InputSpec.model_validate(about["input"])
    return Source(spec, input, about["classes"], None, path)


def prepare(pair: str, places: Places) -> None:
    """The target's images and the source's weights, unless they are there."""
    pairs.packed(pair, places)
    make_source(PAIRS[pair].source, PAIRS[pair].side, places)


def make_source(name: str, side: int, places: Places) -> Path:
    """The weights of a source, with what they are beside them, unless they are there."""
    path = places.work / "sources" / f"{name}-{side}.safetensors"
    if path.with_suffix(".json").exists():
        return path
    if name in pairs.PUBLISHED:
        pairs.write(pairs.PUBLISHED[name](places, side), path)
        return path
    adapted, _ = _run(parse(pairs.TRAINED[name].method), 100, pairs.schoolbook(name, places))
    made, classes = adapted.classifier, adapted.classifier.classes or []
    pairs.write(pairs.Weights(adapted.spec, made.input, classes, dict(made.module.state_dict())), path)
    return path


def key(cell: Cell, places: Places) -> str:
    """Equal for equal measurements: all that decides the outcome is in it, the resolved defaults as well."""
    target, known = _target(cell, places), source(cell.pair, places)
    params = _params(cell, target, known)
    domain = _domain(target)
    count = len(domain.within(domain.labelled("train"), params, cell.seed))
    resolved = params.resolve(count, known.input.size)
    what = {"pair": cell.pair, "seed": cell.seed, "tuning": cell.tuning, "method": resolved.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def measured(cell: Cell, places: Places) -> dict[str, Any]:
    """What the ledger keeps of a measurement; what diverges is right on nothing."""
    began, target, known = time.process_time(), _target(cell, places), source(cell.pair, places)
    try:
        _, accuracy = _run(_params(cell, target, known), cell.seed, target, None if cell.name == "train" else known)
    except Failure as failure:
        if failure.code != "diverged":
            raise
        accuracy = 0.0
    return {"accuracy": accuracy, "seconds": round(time.process_time() - began, 1)}


def _target(cell: Cell, places: Places) -> Packed:
    if cell.tuning:
        return pairs.tuning(cell.pair, places, cell.labels, cell.seed)
    return pairs.packed(cell.pair, places)


def _params(cell: Cell, target: Packed, known: Source) -> Any:
    method = cell.method
    if cell.name == "train":
        network = with_classes(known.network, len(target.document["classes"]))
        method |= {"network": network.model_dump(mode="json"), "input": known.input.model_dump(mode="json")}
    if cell.tuning:
        method.pop("labels_per_class")  # its training split has no more
    return parse(method)


def _domain(packed: Packed) -> Domain:
    return Domain.open(DatasetSpec.load(packed.document), packed.pixels, packed.index)


def _run(params: Any, seed: int, target: Packed, source: Source | None = None) -> tuple[Adapted, float]:
    with tempfile.TemporaryDirectory() as workdir:
        run = Run(Recorder(), Path(workdir), seed=seed, snapshot_every_s=math.inf)
        task = Task(run, target=_domain(target), source=source)
        with device.reproducible(run.device, seed, threads=1):
            adapted = METHODS[params.name](task, params)
            evaluation = measure.evaluation(task, adapted) if target.document["splits"]["test"] else None
    return adapted, math.nan if evaluation is None else evaluation.target.accuracy


class Bench:
    """Measures cells that the ledger lacks, several at a time; the ledger is a file that only grows."""

    def __init__(self, places: Places, pool: Executor, ledger: Path = LEDGER) -> None:
        places.work.mkdir(parents=True, exist_ok=True)
        self._places, self._pool, self._path = places, pool, ledger
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self._found: dict[str, float] = {line["key"]: line["accuracy"] for line in map(json.loads, lines)}

    def get(self, cell: Cell) -> float | None:
        return self._found.get(key(cell, self._places))

    def measure(self, cells: Sequence[Cell]) -> None:
        missing = {key(cell, self._places): cell for cell in cells}
        futures = {
            self._pool.submit(measured, cell, self._places): name
            for name, cell in missing.items()
            if name not in self._found
        }
        for future in as_completed(futures):
            name, result = futures[future], future.result()
            self._found[name] = result["accuracy"]
            with self._path.open("a") as file:
                file.write(json.dumps({"key": name} | asdict(missing[name]) | result, ensure_ascii=False) + "\n")

    def best(self, pair: str, labels: int) -> dict[str, Any] | None:
        """The settings that were best on the tuning seeds; None where not all are tried."""
        scores = []
        for settings in tries():
            found = [self.get(tried(pair, settings, labels, seed, tuning=True)) for seed in TUNING_SEEDS]
            if None in found:
                return None
            scores.append((statistics.mean(one for one in found if one is not None), settings))
        return max(scores, key=lambda score: score[0])[1]

    def figures(self, pair: str, labels: int) -> dict[Arm, list[float]]:
        """Accuracies by arm, seed by seed, of the arms that are measured with all seeds."""
        best = self.best(pair, labels)
        cells: dict[Arm, list[Cell]] = {
            arm: [default(pair, arm, labels, seed) for seed in SEEDS] for arm in ARMS if arm != "search"
        }
        if best is not None:
            cells["search"] = [tried(pair, best, labels, seed, tuning=False) for seed in SEEDS]
        found = {arm: [self.get(cell) for cell in of] for arm, of in cells.items()}
        return {arm: [x for x in scores if x is not None] for arm, scores in found.items() if None not in scores}


def settle(bench: Bench, pair: str, labels: int) -> None:
    """Measure all that is wanted of a pair at a number of labels a class."""
    bench.measure([default(pair, arm, labels, seed) for arm in ARMS if arm != "search" for seed in SEEDS])
    bench.measure([tried(pair, one, labels, seed, tuning=True) for one in tries() for seed in TUNING_SEEDS])
    best = bench.best(pair, labels)
    assert best is not None
    bench.measure([tried(pair, best, labels, seed, tuning=False) for seed in SEEDS])


def report(found: dict[tuple[str, int], dict[Arm, list[float]]]) -> str:
    """Markdown: a row for each pair and number of labels, and what holds of all of them."""
    lines = ["| pair | labels a class | fine_tune | scratch | probe | search |", f"| --- {'| ---: ' * 5}|"]
    for (pair, labels), arms in found.items():
        means = [f"{100 * statistics.mean(arms[arm]):.1f}" if arm in arms else "–" for arm in ARMS]
        lines.append(f"| {pair} | {labels} | {' | '.join(means)} |")
    lines.append("")
    for other, what in (("train", "scratch"), ("linear_probe", "the probe"), ("search", "the search")):
        pairs_of = [(arms["fine_tune"], arms[other]) for arms in found.values() if {"fine_tune", other} <= arms.keys()]
        if not pairs_of:
            continue
        gaps = [stats.difference(*scores) for scores in pairs_of]
        mean, below = 100 * statistics.mean(gap.mean for gap in gaps), sum(gap.high < 0 for gap in gaps)
        held = f"below by more than the interval: {below}"
        lines.append(f"- less {what}: {mean:+.1f} points in the mean of {len(gaps)}; {held}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pairs.add_places(parser, ROOT / ".benchmarks" / "defaults")
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with one thread")
    parser.add_argument("--only", nargs="+", default=list(PAIRS), choices=list(PAIRS), metavar="PAIR")
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS))
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    places = pairs.places_of(options)
    context = multiprocessing.get_context("spawn")
    found: dict[tuple[str, int], dict[Arm, list[float]]] = {}
    with ProcessPoolExecutor(options.jobs, context, initializer=device.keep_memory) as pool:
        bench = Bench(places, pool)
        for pair in options.only:
            prepare(pair, places)
            for labels in options.labels:
                if not options.report:
                    settle(bench, pair, labels)
                found[pair, labels] = bench.figures(pair, labels)
    print(report({place: arms for place, arms in found.items() if arms}))


if __name__ == "__main__":
    main()
