"""What every transfer is worth on real data, against baselines that were tuned as carefully: docs/results.md.

    python benchmarks/transfer.py [--jobs 2]          # all that is not measured yet, then the document
    python benchmarks/transfer.py --tune              # look for every contender's settings again
    python benchmarks/transfer.py --quick --only digits/fine_tune

MNIST-5k → optdigits; where Debian's dataset-fashion-mnist is installed, also Fashion-MNIST's one half → the other, and
distillation.  Every measurement is kept in `.benchmarks/`: an interrupted run goes on where it was.  Delete the folder
after a change of a method.
"""

import argparse
import datetime
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from contest import data, plan, report
from contest.kept import Kept
from contest.measuring import Cell, measured, train_origin
from contest.plan import Contender
from contest.report import Figures
from worker.runtime import device

ROOT = Path(__file__).resolve().parents[1]


class Bench:
    """Measures cells that the ledger lacks, several at a time."""

    def __init__(self, folder: Path, pool: Executor) -> None:
        self._folder, self._pool = folder, pool
        self._ledger = Kept(folder / "ledger.jsonl")

    def __contains__(self, cell: Cell) -> bool:
        return cell.key in self._ledger

    def __getitem__(self, cell: Cell) -> float:
        """The accuracy that was measured, 0 to 1."""
        return float(self._ledger[cell.key]["accuracy"])

    def measure(self, cells: Sequence[Cell]) -> None:
        missing = list({cell.key: cell for cell in cells if cell not in self}.values())
        origins = dict.fromkeys(cell.origin for cell in missing if _needs_origin(cell))
        for trained in as_completed([self._pool.submit(train_origin, one, self._folder) for one in origins]):
            trained.result()
        began = time.monotonic()
        futures = {self._pool.submit(measured, cell, self._folder): cell for cell in missing}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                cell, accuracy = futures[future], future.result()
                about = {"domain": cell.domain, "method": cell.method["name"], "labels": cell.labels, "seed": cell.seed}
                self._ledger.add(cell.key, {"accuracy": accuracy} | about)
                left = (time.monotonic() - began) / done * (len(missing) - done)
                said = f"{cell.domain} {cell.method['name']} {cell.labels} a class, seed {cell.seed}: {accuracy:.4f}"
                print(f"[{done}/{len(missing)}, {left / 60:.1f} min left] {said}", flush=True)
        finally:
            for future in futures:  # after a failure nothing is measured that nobody would note
                future.cancel()


def tune(bench: Bench, only: Callable[[str, str], bool]) -> None:
    """Writes each contender's best settings to the plan, by mean accuracy within the pool over the tuning seeds."""
    tried = [
        (domain, one.name, labels, [(own, _tuning_cells(domain, one, own, labels)) for own in one.settings()])
        for domain in _domains()
        for one in plan.DOMAINS[domain].contenders
        if only(domain, one.name)
        for labels in one.tuned_at
    ]
    bench.measure([cell for *_, options in tried for _, cells in options for cell in cells])
    found = json.loads(plan.TUNED.read_text()) if plan.TUNED.exists() else {}
    for domain, name, labels, options in tried:
        scores = [sum(bench[cell] for cell in cells) / len(cells) for _, cells in options]
        best = scores.index(max(scores))
        entry = {"settings": options[best][0], "accuracy": round(scores[best], 4), "tried": len(options)}
        found.setdefault(domain, {}).setdefault(name, {})[str(labels)] = entry
    plan.TUNED.write_text(json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def _tuning_cells(domain: str, contender: Contender, settings: plan.Method, labels: int) -> list[Cell]:
    return [Cell(domain, contender.base | settings, labels, seed, tuning=True) for seed in plan.TUNING_SEEDS]


def final(domain: str, contender: Contender, labels: int, seed: int, quick: bool = False) -> Cell:
    return Cell(domain, plan.tuned(domain, contender, labels), labels, seed, quick=quick)


def figures(bench: Bench, seeds: Sequence[int], quick: bool) -> Figures:
    """What is measured with all of the seeds: accuracies by domain, contender and labels a class, seed by seed."""
    found: Figures = {}
    for domain in _domains():
        for one in plan.DOMAINS[domain].contenders:
            for labels in one.labels:
                cells = [final(domain, one, labels, seed, quick) for seed in seeds]
                if all(cell in bench for cell in cells):
                    found.setdefault(domain, {}).setdefault(one.name, {})[labels] = [bench[cell] for cell in cells]
    return found


def _domains() -> Iterator[str]:
    for name in plan.DOMAINS:
        if name == "digits" or data.has_fashion():
            yield name


def _needs_origin(cell: Cell) -> bool:
    name = cell.method["name"]
    return name != "svm_on_pixels" and (name != "train" or plan.DOMAINS[cell.domain].teaches)


def _wanted(only: Sequence[str], domain: str, contender: str) -> bool:
    return not only or domain in only or f"{domain}/{contender}" in only


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="processes, each with one thread")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(plan.SEEDS))
    parser.add_argument("--only", nargs="+", default=[], metavar="DOMAIN[/CONTENDER]")
    parser.add_argument("--quick", action="store_true", help="one seed, 10 labels a class, a source of one epoch")
    parser.add_argument("--tune", action="store_true", help="renew benchmarks/contest/tuned.json; writes no document")
    parser.add_argument("--work", type=Path, default=ROOT / ".benchmarks", help="where measurements are kept")
    parser.add_argument("--out", type=Path, default=None, help="default: docs/results.md; of --quick: the work folder")
    options = parser.parse_args(arguments)
    only = partial(_wanted, options.only)
    seeds = options.seeds[:1] if options.quick else options.seeds
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, initializer=device.keep_memory) as pool:
        bench = Bench(options.work, pool)
        if options.tune:
            tune(bench, only)
            return
        cells = [
            final(domain, one, labels, seed, options.quick)
            for domain in _domains()
            for one in plan.DOMAINS[domain].contenders
            for labels in one.labels
            for seed in seeds
            if only(domain, one.name) and (labels == 10 or not options.quick)
        ]
        bench.measure(cells)
    out = options.out or (options.work / "results.md" if options.quick else ROOT / "docs" / "results.md")
    out.write_text(report.document(figures(bench, seeds, options.quick), seeds, datetime.date.today()))
    print(f"{out}")


if __name__ == "__main__":
    main()
