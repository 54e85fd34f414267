"""Whether the recommender's forecasts are right: docs/choosing.md.

    python benchmarks/choosing.py tables
    python benchmarks/choosing.py truth --pacs FOLDER --cifar10 FOLDER --cifar100 FOLDER --lite0 FILE --lite2 FILE \
--resnet20 FILE
    python benchmarks/choosing.py report
    python benchmarks/choosing.py cost --cifar10 FOLDER

`tables`: how well history alone ranks the checkpoints of two public tables of truth, `sfda.csv` and
`transfer_graph.csv` in `benchmarks/measured`.  `truth` measures what is missing in `choosing.csv` there: the test
accuracy of every checkpoint of the zoo on every target, by `fine_tune` and `linear_probe` as they are by default; and,
in `choosing_evidence.jsonl`, what a recommendation measures of the same before.  An interrupted run goes on where it
was.
`report`: what forecasts are worth, by the targets that are complete.  `cost`: what a recommendation takes beside the
job that it spares.
"""

import argparse
import csv
import hashlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import defaults
import ledger
import recommending
import zoo
from app.contract import blobs
from app.contract.blobs import Input
from app.contract.recommendation import Evidence, RecommendationSpec
from app.contract.specs import DatasetSpec, SourceSpec
from app.methods.registry import parse
from contest import data, stats
from ledger import Row
from rankings import PublicTable, ZooTruth, by_target, taus
from worker.runs import recommend
from worker.runtime import device
from worker.runtime.contract import Spec
from worker.runtime.recorder import Recorder
from zoo import ZooPlaces

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "benchmarks" / "measured"
TRUTH, EVIDENCE = "choosing.csv", "choosing_evidence.jsonl"
METHODS = ("linear_probe", "fine_tune")
LOOKED = METHODS[0]  # the method in the key of evidence: which one does not matter
IMAGES, SEED = 1000, 0
PAST = 5  # targets, of which history alone has to know enough
TABLES = {  # file, and the τ to reach
    "11 networks × 11 targets (TencentARC/SFDA, group 1)": ("sfda.csv", 0.80),
    "180 networks × 12 targets (zLizy/transferability_graph)": ("transfer_graph.csv", 0.52),
}
NETWORKS = 20
PART = "Seconds of one processor; of the job a part is run: benchmarks/recommending.py."
COMPLETE = 0.9  # of the checkpoints, for a target to be reported
AGREED, AHEAD = 0.6, 0.05
TAU = "τ is `scipy.stats.weightedtau`, in the mean over targets, in brackets its 95 % interval by Student's t."


@dataclass(frozen=True)
class TruthRow:
    """A row of the truth: `accuracy` on `test` images.  `key` is equal for equal measurements."""

    checkpoint: str
    target: str
    method: str
    accuracy: float
    test: int
    seconds: float
    network: str
    parameters: int
    source_accuracy: float
    worthless: bool
    key: str


class Truths:
    """The table of truth, which only grows; of rows on the same the last one counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[str, str, str], TruthRow] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                for one in csv.DictReader(file):
                    self._keep(_row(one))

    def __iter__(self) -> Any:
        return iter(self._found.values())

    def has(self, checkpoint: str, target: str, method: str, key: str) -> bool:
        found = self._found.get((checkpoint, target, method))
        return found is not None and found.key == key

    def add(self, row: TruthRow) -> None:
        there = self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(TruthRow)], lineterminator="\n")
            if not there:
                writer.writeheader()
            writer.writerow(asdict(row))
        self._keep(row)

    def _keep(self, row: TruthRow) -> None:
        self._found[row.checkpoint, row.target, row.method] = row


def _row(read: dict[str, str]) -> TruthRow:
    return TruthRow(
        **{name: read[name] for name in ("checkpoint", "target", "method", "network", "key")},
        accuracy=float(read["accuracy"]),
        test=int(read["test"]),
        seconds=float(read["seconds"]),
        parameters=int(read["parameters"]),
        source_accuracy=float(read["source_accuracy"]),
        worthless=read["worthless"] == "True",
    )


class EvidenceLedger:
    """What recommendations measured, by target and checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._found = {
            (line["target"], line["key"]): Evidence.load(line["evidence"]) for line in map(json.loads, lines)
        }

    def of(self, target: str) -> list[Evidence]:
        return [found for (name, _), found in self._found.items() if name == target]

    def has(self, target: str, key: str) -> bool:
        return (target, key) in self._found

    def add(self, target: str, key: str, found: Evidence) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"target": target, "key": key, "evidence": found.dump()}) + "\n")
        self._found[target, key] = found


def key(checkpoint: str, target: str, method: str, places: ZooPlaces) -> str:
    """Equal for equal measurements: the resolved defaults are in it."""
    source, _ = zoo.animal(checkpoint, places)
    packed = zoo.target(target, places)
    count = packed.document["splits"]["train"]
    resolved = parse({"name": method}).resolve(count, source.input.size).model_dump(mode="json")
    what = {"animal": asdict(zoo.ANIMALS[checkpoint]), "target": target, "method": resolved, "seed": SEED}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def measured(checkpoint: str, target: str, method: str, name: str, places: ZooPlaces) -> TruthRow:
    """The outcome of one job."""
    began = time.process_time()
    source, about = zoo.animal(checkpoint, places)
    packed = zoo.target(target, places)
    _, accuracy = defaults._run(parse({"name": method}), SEED, packed, source)
    return TruthRow(
        checkpoint=checkpoint,
        target=target,
        method=method,
        accuracy=round(accuracy, 4),
        test=packed.document["splits"]["test"],
        seconds=round(time.process_time() - began, 1),
        network=source.network.name,
        parameters=about["parameters"],
        source_accuracy=round(about["source_accuracy"], 4),
        worthless=zoo.ANIMALS[checkpoint].worthless,
        key=name,
    )


def look(checkpoint: str, target: str, places: ZooPlaces) -> Evidence:
    """What a recommendation measures of the checkpoint: the worker's own task."""
    source, _ = zoo.animal(checkpoint, places)
    packed = zoo.target(target, places)
    known = SourceSpec(network=source.network, input=source.input, classes=source.classes)
    order = RecommendationSpec(
        images=IMAGES, seed=SEED, candidates={checkpoint: known}, target=DatasetSpec.load(packed.document)
    )
    inputs = {
        str(Input.TARGET_PIXELS): packed.pixels,
        str(Input.TARGET_INDEX): packed.index,
        str(blobs.teacher_weights(checkpoint)): source.weights,
    }
    with tempfile.TemporaryDirectory() as workdir:
        spec = Spec(kind="recommend", subject="rec_zoo", payload=order, inputs=inputs, workdir=Path(workdir))
        [found] = recommend.run(spec, Recorder()).outcome.evidence
    return found


@dataclass(frozen=True)
class Wanted:
    """The part of the zoo that is to be measured."""

    animals: Sequence[str]
    methods: Sequence[str] = METHODS


def settle(target: str, wanted: Wanted, places: ZooPlaces, folder: Path, pool: Executor) -> None:
    """Measure what is missing of a target."""
    truths, evidence = Truths(folder / TRUTH), EvidenceLedger(folder / EVIDENCE)
    zoo.target(target, places)
    seen_as = {animal: key(animal, target, LOOKED, places) for animal in wanted.animals}
    unseen = [animal for animal, name in seen_as.items() if not evidence.has(target, name)]
    cells = [
        (animal, method, key(animal, target, method, places)) for animal in wanted.animals for method in wanted.methods
    ]
    missing = [cell for cell in cells if not truths.has(cell[0], target, cell[1], cell[2])]
    looks = {pool.submit(look, animal, target, places): animal for animal in unseen}
    for seen in as_completed(looks):
        evidence.add(target, seen_as[looks[seen]], seen.result())
    runs = [pool.submit(measured, animal, target, method, name, places) for animal, method, name in missing]
    for done, ran in enumerate(as_completed(runs), 1):
        row = ran.result()
        truths.add(row)
        said = f"{row.target}, {row.checkpoint}, {row.method}: {row.accuracy:.3f} in {row.seconds} s"
        print(f"[{done}/{len(runs)}] {said}", flush=True)


def tables() -> list[Row]:
    """History alone on the public tables: the mean weighted τ over targets, with its interval."""
    rows = []
    for name, (file, limit) in TABLES.items():
        table = PublicTable.read(MEASURED / file)
        figures = stats.mean(table.by_history(PAST))
        held = bool(figures.mean >= limit)
        rows += [
            ledger.row(f"{name}, history of {PAST} targets", *_figure(figures), f"≥ {limit}", held),
            ledger.row(f"{name}, parameters", *_figure(stats.mean(table.by_parameters()))),
            ledger.row(f"{name}, Kendall's W of the truth", f"{table.concordance():.2f}"),
        ]
    return rows


def zoo_truth(folder: Path, method: str) -> ZooTruth:
    """What is known of the zoo by one method: targets on which nearly all checkpoints were measured, and the
    checkpoints that were measured on all of these."""
    rows = [row for row in Truths(folder / TRUTH) if row.method == method]
    accuracy = by_target((row.target, row.checkpoint, row.accuracy) for row in rows)
    most = max((len(of) for of in accuracy.values()), default=0)
    nearly = {target: of for target, of in accuracy.items() if len(of) >= COMPLETE * most}
    common = set.intersection(*(set(of) for of in nearly.values())) if nearly else set()
    whole = {target: {name: of[name] for name in of if name in common} for target, of in nearly.items()}
    evidence = EvidenceLedger(folder / EVIDENCE)
    return ZooTruth(
        method,
        whole,
        {row.target: row.test for row in rows},
        {target: evidence.of(target) for target in whole},
        {row.checkpoint: float(row.parameters) for row in rows},
        {row.checkpoint: row.source_accuracy for row in rows},
        frozenset(row.checkpoint for row in rows if row.worthless),
    )


def report(truth: ZooTruth) -> list[Row]:
    """The bars of a method, and how well each ranker ranks."""
    rankers = truth.rankers()
    found = {name: taus(scores, truth.accuracy) for name, scores in rankers.items()}
    single = {name: found[name] for name in found if not name.startswith("forecast") and name != "ridge"}
    best = max(single, key=lambda name: float(single[name].mean()))
    ahead = stats.difference(list(found["forecast"]), list(single[best]))
    first, three = (truth.regret(rankers["forecast"], among) for among in (1, 3))
    inside, count = truth.covered()
    shares = inside / count
    worthless = [target for target in truth.accuracy if truth.first(rankers["forecast"], target) in truth.worthless]
    said = f"`{truth.method}`: "
    agreed = truth.concordance()
    rows = [
        ledger.row(f"{said}Kendall's W of the truth", f"{agreed:.2f}", "", f"≤ {AGREED}", agreed <= AGREED),
        ledger.row(
            f"{said}weighted τ above {best}",
            *_figure(ahead),
            f"≥ {AHEAD} above 0",
            bool(ahead.mean >= AHEAD and ahead.low > 0),
        ),
        ledger.row(f"{said}regret of the first, points", *_figure(stats.mean(first)), "≤ 1", bool(np.mean(first) <= 1)),
        ledger.row(f"{said}best of three, points", *_figure(stats.mean(three)), "≤ 0.3", bool(np.mean(three) <= 0.3)),
        ledger.row(
            f"{said}90 % intervals hold",
            f"{100 * shares:.0f} %",
            f"{inside} of {count}",
            "85–95 %",
            0.85 <= shares <= 0.95,
        ),
        ledger.row(f"{said}worthless first", str(len(worthless)), ", ".join(worthless), "0", not worthless),
    ]
    ranked = sorted(found, key=lambda name: -float(found[name].mean()))
    rows += [ledger.row(f"{said}weighted τ of {name}", *_figure(stats.mean(list(found[name])))) for name in ranked]
    rows += [
        ledger.row(f"{said}regret of the first by {name}, points", *_figure(stats.mean(truth.regret(rankers[name]))))
        for name in ranked
    ]
    return rows


def cost_rows(cifar10: Path, networks: int) -> list[Row]:
    """The cost of a recommendation for so many networks, scaled to `NETWORKS` of them."""
    with tempfile.TemporaryDirectory() as work:
        found = recommending.costs(cifar10, Path(work), networks)
    said = f"{NETWORKS} ResNet-18 × {recommending.LOOKED_AT:,} images"
    cold, again, of_features = (NETWORKS / networks * one for one in (found.cold, found.again, found.of_features))
    ratio = cold / found.job
    return [
        ledger.row(
            f"{said}, of the job's time", f"{ratio:.2f}", f"{cold:.0f} of {found.job:.0f} s", "< 0.2", ratio < 0.2
        ),
        ledger.row("the same question again", f"{again:.2f} s", "", "< 2 s", again < 2),
        ledger.row("of kept features, another question's scores", f"{of_features:.1f} s"),
    ]


def _figure(mean: stats.Mean) -> tuple[str, str]:
    return f"{mean.mean:.3f}", f"[{mean.low:.3f} {mean.high:.3f}]"


def _printed(name: str, command: str, rows: Sequence[Row], notes: Sequence[str]) -> None:
    ledger.write(name, command, rows, notes)
    print(*notes, sep="\n")
    for row in rows:
        held = {True: "holds", False: "DOES NOT HOLD", None: ""}[row["holds"]]
        print(" ".join(one for one in (row["what"] + ":", row["figure"], row["spread"], row["limit"], held) if one))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tables", help="history alone on public tables")
    truth = commands.add_parser("truth", help="measure what is missing")
    for field in fields(ZooPlaces):
        known = {"work": ROOT / ".benchmarks" / "choosing", "fashion": data.FASHION}.get(field.name)
        truth.add_argument(f"--{field.name}", type=Path, required=known is None, default=known)
    truth.add_argument("--jobs", type=int, default=1, help="processes, each with one thread")
    truth.add_argument("--only", nargs="+", default=list(zoo.TARGETS), choices=list(zoo.TARGETS), metavar="TARGET")
    truth.add_argument("--animals", nargs="+", default=list(zoo.ANIMALS), choices=list(zoo.ANIMALS), metavar="NAME")
    cost = commands.add_parser("cost", help="what a recommendation takes beside a job")
    cost.add_argument("--cifar10", type=Path, required=True)
    cost.add_argument("--networks", type=int, default=NETWORKS)
    truth.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    commands.add_parser("report", help="what forecasts are worth on the zoo")
    options = parser.parse_args(arguments)
    command = f"python benchmarks/choosing.py {options.command}"
    if options.command == "tables":
        _printed("Choosing: public tables", command, tables(), [TAU])
    elif options.command == "cost":
        _printed("Choosing: cost", f"{command} --cifar10 FOLDER", cost_rows(options.cifar10, options.networks), [PART])
    elif options.command == "report":
        found = [zoo_truth(MEASURED, method) for method in METHODS]
        sizes = [f"`{one.method}`: {len(one.checkpoints)} checkpoints × {', '.join(one.accuracy)}." for one in found]
        _printed("Choosing: zoo", command, [row for one in found for row in report(one)], [*sizes, TAU])
    else:
        places = ZooPlaces(**{field.name: getattr(options, field.name) for field in fields(ZooPlaces)})
        places.work.mkdir(parents=True, exist_ok=True)
        for animal in options.animals:
            zoo.raise_animal(animal, places)
        wanted, context = Wanted(options.animals, options.methods), multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, context, initializer=device.keep_memory) as pool:
            for target in options.only:
                settle(target, wanted, places, MEASURED, pool)


if __name__ == "__main__":
    main()
