"""The benchmark of transfers: its figures and tables, what it tunes on, and that the command runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel

from contest import data, plan, report, stats
from contest.data import Labelled
from contest.plan import Contender

ROOT = Path(__file__).resolve().parents[2]
ONE, OTHER = [0.96, 0.97, 0.98, 0.95, 0.97], [0.93, 0.95, 0.94, 0.92, 0.95]


def test_mean_with_students_interval():
    found = stats.mean([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found == pytest.approx((3.0, 3.0 - 1.9632, 3.0 + 1.9632), abs=1e-4)  # 2.7764 · √2.5 / √5
    interval = ttest_1samp(ONE, 0).confidence_interval()
    assert stats.mean(ONE)[1:] == pytest.approx((interval.low, interval.high))


def test_difference_is_paired():
    interval = ttest_rel(ONE, OTHER).confidence_interval()
    assert stats.difference(ONE, OTHER) == pytest.approx((0.028, interval.low, interval.high))


def test_shares_of_error_and_gap():
    assert stats.error_removed([0.97, 0.99], [0.94, 0.96]) == pytest.approx(0.6)
    assert stats.recovered([0.8, 0.85], [0.7, 0.75], [0.9, 0.95]).mean == pytest.approx(0.5)


def test_what_is_not_clearly_better_is_marked():
    found = {"scratch": {10: OTHER}, "better": {10: ONE}, "noise": {10: [0.97, 0.91, 0.95, 0.93, 0.93]}}
    scratch, better, noise = report.accuracies(found).splitlines()[2:]
    assert scratch == "| scratch | 93.8 [92.2 95.4] |"
    assert better == "| better | 96.6 [95.2 98.0] |"
    assert noise.startswith("| noise | 93.8 [")
    assert noise.endswith(" ✗ |")


def test_gains_name_what_is_gone_of_the_error():
    found = {"scratch": {1: OTHER, 10: OTHER}, "better": {10: ONE}}
    assert report.gains(found, "scratch", ["better"]).splitlines() == [
        "| points over scratch; its error removed | 1 label a class | 10 labels a class |",
        "| --- | ---: | ---: |",
        "| better | – | +2.8 [+1.8 +3.8]; 45 % |",
    ]


def test_tuning_sees_no_test_image():
    """Each image's pixels are its number."""
    label = np.tile(np.arange(3), 40)
    images = np.arange(120, dtype=np.uint8)[:, None, None]
    found = data.tuning(Labelled(images, label, np.arange(120) >= 60, ("a", "b", "c")), labels=5, seed=1)
    assert sorted(found.images.ravel().tolist()) == list(range(60))
    assert np.bincount(found.label[~found.test]).tolist() == [5, 5, 5]
    assert np.array_equal(found.label, label[:60])


def test_settings_are_all_there_are_or_a_sample_of_them():
    axes = [[{"learning_rate": rate} for rate in (1, 2, 3)], [{"steps": steps} for steps in (10, 20)]]
    every = Contender("x", {}, axes).settings()
    assert every == [{"learning_rate": rate, "steps": steps} for rate in (1, 2, 3) for steps in (10, 20)]
    many = [*axes, [{"batch_size": size} for size in range(9)]]
    some = Contender("x", {}, many).settings()
    assert len({json.dumps(one) for one in some}) == plan.TRIES
    assert some == Contender("x", {}, many).settings()


def test_every_contender_is_tuned():
    for name, domain in plan.DOMAINS.items():
        for contender in domain.contenders:
            for labels in contender.labels:
                assert plan.tuned(name, contender, labels)["name"] == contender.base["name"]


@pytest.mark.slow
@pytest.mark.matrix
def test_the_command_measures_and_goes_on_where_it_was(tmp_path):
    command = [sys.executable, "benchmarks/transfer.py", "--quick", "--jobs", "1", "--work", str(tmp_path)]
    command += ["--only", "digits/linear_probe", "digits/SVM on pixels"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert {line["method"] for line in lines} == {"linear_probe", "svm_on_pixels"}
    assert all(line["labels"] == 10 and 0.8 < line["accuracy"] < 1 for line in lines)
    document = (tmp_path / "results.md").read_text()
    for line in lines:
        assert f"{100 * line['accuracy']:.1f}" in document
    again = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "seed" not in again.stdout  # nothing was measured anew
