"""What a tournament loses against training everything, and what it saves; docs/choosing.md.

    python benchmarks/racing.py --pacs FOLDER --cifar10 FOLDER --cifar100 FOLDER --lite0 FILE --resnet20 FILE

Nine settings of `fine_tune`, the first that the search of `defaults.py` tries, race on a target of `automatic.py`; then
those that were left behind are trained to their ends, too.  Compared are the test accuracies of the tournament's winner
and of the one that validation chooses when all are trained, and the optimiser steps of both, which no load changes.
Every race is a line of `benchmarks/measured/racing.jsonl`.  Prints Markdown.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import default_pairs as pairs
import defaults
from automatic import TRIALS, Study
from contest import stats
from contest.kept import Kept
from contest.service import opened
from regraft import Client
from regraft.standings import Tournament

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "benchmarks" / "measured" / "racing.jsonl"
RACES = ("resnet20 → ten others of CIFAR-100", "cnn3 → photo", "garments, digits → optdigits")
CANDIDATES, SEEDS = 9, (0, 1)


def race(client: Client, study: Study, seed: int) -> dict[str, Any]:
    settings = defaults.tries()[:CANDIDATES]
    asked = client.tournaments.create(
        dataset=study.dataset,
        candidates=[
            {"checkpoint": study.checkpoints[0], "method": {"name": "fine_tune", **study.labels(), **one}}
            for one in settings
        ],
        seed=seed,
    )
    over = client.tournaments.wait(asked.id)
    raced = _steps(over)
    for one in over.candidates:
        if one.status == "eliminated":
            assert one.job is not None
            client.jobs.retry(one.job)
            client.jobs.wait(one.job, check=False)  # one that diverges is right on nothing
    ends = {one.number: _end(client, str(one.job)) for one in over.candidates if one.baseline is None}
    chosen = max(ends, key=lambda number: ends[number][0])
    assert over.winner is not None
    won = client.jobs.get(over.winner.job)
    assert won.evaluation is not None
    return {
        "tournament": won.evaluation.target.accuracy,
        "everything": ends[chosen][1],
        "best": max(test for _, test in ends.values()),
        "steps": raced,
    }


def _steps(over: Tournament) -> float:
    """The share of all candidates' steps that were trained, without the baselines."""
    mine = [one for one in over.candidates if one.baseline is None and one.scores]
    return sum(one.scores[-1].step for one in mine) / sum(one.scores[-1].total_steps for one in mine)


def _end(client: Client, job: str) -> tuple[float, float]:
    """Validation and test accuracy of a job at its end."""
    found = client.jobs.get(job)
    if found.evaluation is None:
        return 0.0, 0.0
    scores = [event.data for event in client.jobs.events(job) if event.type == "score"]
    return scores[-1]["right"] / scores[-1]["n"], found.evaluation.target.accuracy


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["| | races | tournament | all trained | best in hindsight | steps |", "|---|---:|---:|---:|---:|---:|"]
    for name, rows in found.items():
        means = [100 * statistics.mean(row[key] for row in rows) for key in ("tournament", "everything", "best")]
        share = statistics.mean(row["steps"] for row in rows)
        lines.append(f"| {name} | {len(rows)} | {' | '.join(f'{mean:.1f}' for mean in means)} | {share:.0%} |")
    every = [row for rows in found.values() for row in rows]
    gap = stats.mean([100 * (row["tournament"] - row["everything"]) for row in every])
    lines.append(f"\nTournament less all trained: {gap.mean:+.1f} points [{gap.low:+.1f} {gap.high:+.1f}].")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pairs.add_places(parser, ROOT / ".benchmarks" / "automatic")
    parser.add_argument("--only", nargs="+", default=list(RACES), choices=list(TRIALS), metavar="TRIAL")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args(arguments)
    places = pairs.places_of(options)
    found: dict[str, list[dict[str, Any]]] = {}
    with opened(places.work) as (client, bench):
        ledger = Kept(LEDGER)
        for seed in options.seeds:
            for name in options.only:
                key = f"{name}, seed {seed}"
                if key not in ledger:
                    row = ledger.add(key, race(client, Study(client, bench, places, name, ledger), seed))
                    print(f"{key}: {json.dumps(dict(row))}", flush=True)
                found.setdefault(name, []).append(dict(ledger[key]))
    print(table(found))


if __name__ == "__main__":
    main()
