"""Whether `auto` is worth asking: beside `fine_tune` on its defaults from the first checkpoint; docs/choosing.md.

    python benchmarks/automatic.py --pacs FOLDER --cifar10 FOLDER --cifar100 FOLDER --lite0 FILE --resnet20 FILE

The pairs are none of those that decided defaults or forecasts.  Three offer one checkpoint; two offer several, the one
that is less alike first; one leaves most images without labels.  Data and networks are made as in `default_pairs.py`.
Each choice has a budget of five minutes.  All goes over HTTP to a service whose folder stays, and every result is a
line of `benchmarks/measured/automatic.jsonl`: an interrupted run goes on where it was.  Prints Markdown.
"""

import argparse
import io
import json
import statistics
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import default_pairs as pairs
import defaults
from contest import data, stats
from contest.kept import Kept
from contest.service import Bench, opened
from default_pairs import Pictures, Places
from regraft import Client

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "benchmarks" / "measured" / "automatic.jsonl"
SEEDS = (0, 1, 2)
BUDGET_S = 300  # of each choice
# Ten of CIFAR-100's classes that are not those of `default_pairs.TEN`, of the ten other superclasses.
OTHERS = ("bear", "bee", "bicycle", "cloud", "cockroach", "lion", "man", "rabbit", "rocket", "trout")


@dataclass(frozen=True)
class Trial:
    """A target, and the sources to choose from; `labels` a class are seen, None: all."""

    sources: Sequence[str]
    target: Callable[[Places], Pictures]
    side: int
    labels: int | None


def others(places: Places) -> Pictures:
    return pairs.folders(places.cifar100 / "train", 32, OTHERS)


def mnist(places: Places) -> Pictures:
    whole = data.mnist()
    return Pictures(whole.images[..., None], whole.label, whole.classes)


TRIALS = {
    "resnet20 → ten others of CIFAR-100": Trial(["resnet20"], others, 32, 20),
    "resnet20 → art": Trial(["resnet20"], pairs.domain("art_painting", 32), 32, 20),
    "cnn3 → photo": Trial(["cnn3"], pairs.domain("photo", 32), 32, 20),
    "cnn3, resnet20 → ten others of CIFAR-100": Trial(["cnn3", "resnet20"], others, 32, 20),
    "garments, digits → optdigits": Trial(["early_garments", "digits"], pairs.optdigits, 16, 10),
    "optdigits → MNIST, most without labels": Trial(["optdigits"], mnist, 16, 5),
}
MORE_TO_CHOOSE = list(TRIALS)[3:]
pairs.TRAINED["optdigits"] = pairs.Schooling(pairs.TRAINED["digits"].method, lambda places: pairs.optdigits(places))


def pack(path: Path, pictures: Pictures) -> None:
    """A zip of `split/class/number.png`, split as `default_pairs` does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for row, place in enumerate(pairs.split(pictures.label)):
            if place >= 0:
                name = pictures.classes[pictures.label[row]]
                archive.writestr(f"{pairs.SPLITS[place]}/{name}/{row:05}.png", _png(pictures, row))


def _png(pictures: Pictures, row: int) -> bytes:
    image, buffer = pictures.images[row], io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "png")
    return buffer.getvalue()


class Study:
    """One trial, on a service."""

    def __init__(self, client: Client, bench: Bench, places: Places, name: str, ledger: Kept) -> None:
        self._client, self._name, self._ledger = client, name, ledger
        trial = self._trial = TRIALS[name]
        label = name.partition("→ ")[2]
        self.dataset = bench.dataset(label, lambda path: pack(path, trial.target(places)))
        self.checkpoints = [self._checkpoint(bench, places, source) for source in trial.sources]

    def _checkpoint(self, bench: Bench, places: Places, source: str) -> str:
        path = defaults.make_source(source, self._trial.side, places)
        about = json.loads(path.with_suffix(".json").read_text())
        options = {"network": about["network"], "input": about["input"], "classes": about["classes"]}
        return bench.checkpoint(f"{source} {self._trial.side}", path, **options)

    def auto(self, seed: int) -> dict[str, Any]:
        several = len(self.checkpoints) > 1
        method = (
            {"name": "auto", "budget_s": BUDGET_S}
            | self.labels()
            | ({"checkpoints": self.checkpoints} if several else {})
        )
        return self._run("auto", method, None if several else self.checkpoints[0], seed)

    def default(self, seed: int) -> dict[str, Any]:
        return self._run("fine_tune", {"name": "fine_tune"} | self.labels(), self.checkpoints[0], seed)

    def labels(self) -> dict[str, Any]:
        return {} if self._trial.labels is None else {"labels_per_class": self._trial.labels}

    def _run(self, arm: str, method: Mapping[str, Any], checkpoint: str | None, seed: int) -> dict[str, Any]:
        key = f"{self._name}, {arm}, seed {seed}"
        if key not in self._ledger:
            job = self._client.jobs.create(method=method, checkpoint=checkpoint, dataset=self.dataset, seed=seed)
            job = self._client.jobs.wait(job.id)
            assert job.evaluation is not None
            found: dict[str, Any] = {"accuracy": job.evaluation.target.accuracy, "seconds": job.seconds}
            if job.choice is not None:
                found |= {
                    "chosen": (job.choice.method or {}).get("name"),
                    "source": self._source(job.choice.checkpoint),
                }
                assert job.choice.tournament is not None
                race = self._client.tournaments.get(job.choice.tournament)
                found |= {"race_seconds": round(race.seconds, 1), "candidates": len(race.candidates)}
            self._ledger.add(key, found)
            print(f"{key}: {json.dumps(found)}", flush=True)
        return dict(self._ledger[key])

    def _source(self, checkpoint: str | None) -> str:
        return "scratch" if checkpoint is None else self._trial.sources[self.checkpoints.index(checkpoint)]


def table(found: Mapping[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> str:
    lines = ["| | labels a class | `fine_tune` | `auto` | difference, 95 % | chosen |", "|---|---:|---:|---:|---:|---|"]
    for name, (default, auto) in found.items():
        ours, theirs = [one["accuracy"] for one in auto], [one["accuracy"] for one in default]
        gap = stats.difference(ours, theirs)
        chosen = ", ".join(dict.fromkeys(f"`{one['chosen']}` from {one['source']}" for one in auto))
        means = [f"{100 * statistics.mean(each):.1f}" for each in (theirs, ours)]
        reach = f"{100 * gap.mean:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
        lines.append(f"| {name} | {TRIALS[name].labels} | {' | '.join(means)} | {reach} | {chosen} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pairs.add_places(parser, ROOT / ".benchmarks" / "automatic")
    parser.add_argument("--only", nargs="+", default=list(TRIALS), choices=list(TRIALS), metavar="TRIAL")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    options = parser.parse_args(arguments)
    places = pairs.places_of(options)
    found: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    with opened(places.work) as (client, bench):
        ledger = Kept(options.ledger)
        for seed in options.seeds:
            for name in options.only:
                study = Study(client, bench, places, name, ledger)
                default, auto = found.setdefault(name, ([], []))
                default.append(study.default(seed))
                auto.append(study.auto(seed))
    print(table(found))


if __name__ == "__main__":
    main()
