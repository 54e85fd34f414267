"""The benchmark of forecasts: its smallest run through the real worker, and its figures against plain arithmetic."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import weightedtau

import choosing
import zoo
from app.contract.recommendation import Evidence, MeasuredAccuracy
from choosing import MEASURED, Truths, Wanted
from rankings import PublicTable, ZooTruth, concordance
from zoo import ZooPlaces

DRAWN, OTHER = "small drawn", "cnn3 drawn"  # need no images to learn from
TARGET = "optdigits"  # comes with scikit-learn


@pytest.fixture
def places(tmp_path) -> ZooPlaces:
    nowhere = Path("/nowhere")
    return ZooPlaces(tmp_path, *[nowhere] * 7)


def test_the_smallest_run_measures_once_and_is_reported(places, tmp_path):
    probe = ["linear_probe"]
    for name in (DRAWN, OTHER):
        zoo.raise_animal(name, places)
    with ThreadPoolExecutor(1) as pool:
        for animals in ([DRAWN], [DRAWN, OTHER], [DRAWN, OTHER]):
            choosing.settle(TARGET, Wanted(animals, probe), places, tmp_path, pool)
    with (tmp_path / choosing.TRUTH).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["checkpoint"], row["target"], row["method"]) for row in rows] == [
        (name, TARGET, "linear_probe") for name in (DRAWN, OTHER)
    ]
    assert all(0.3 < float(row["accuracy"]) < 1 and row["test"] == "500" for row in rows)
    assert {row["worthless"] for row in rows} == {"True"}
    looks = [json.loads(line) for line in (tmp_path / choosing.EVIDENCE).read_text().splitlines()]
    assert [look["evidence"]["checkpoint"] for look in looks] == [DRAWN, OTHER]
    assert all(look["evidence"]["images"] == 250 for look in looks)

    truth = choosing.zoo_truth(tmp_path, "linear_probe")
    assert truth.worthless == {DRAWN, OTHER}
    foretold = truth.forecasts(TARGET)
    assert set(foretold) == {DRAWN, OTHER}
    for name, (accuracy, (low, high)) in foretold.items():
        assert low < accuracy < high
        assert abs(accuracy - truth.accuracy[TARGET][name]) < 0.3
    assert not Truths(tmp_path / choosing.TRUTH).has(DRAWN, TARGET, "linear_probe", "another key")


def test_targets_learn_from_no_image_that_they_are_judged_by(places):
    packed = zoo.target(TARGET, places)
    assert packed.document["splits"] == {"train": 250, "validation": 100, "test": 500}
    assert packed.document["image"] == {"height": 32, "width": 32, "channels": 3}


def truth(accuracy, probes, worthless=()):
    """A zoo whose evidence are ridge regressions of these accuracies."""
    evidence = {
        target: [
            Evidence(checkpoint=name, probe=MeasuredAccuracy(accuracy=share, interval=(share, share), n=200))
            for name, share in of.items()
        ]
        for target, of in probes.items()
    }
    names = {name for of in accuracy.values() for name in of}
    sizes = {name: float(place) for place, name in enumerate(sorted(names), 1)}
    test = dict.fromkeys(accuracy, 500)
    return ZooTruth("fine_tune", accuracy, test, evidence, sizes, sizes, frozenset(worthless))


ACCURACY = {"one": {"a": 0.9, "b": 0.7, "c": 0.5}, "two": {"a": 0.8, "b": 0.9, "c": 0.2}}
PROBES = {"one": {"a": 0.8, "b": 0.6, "c": 0.4}, "two": {"a": 0.9, "b": 0.7, "c": 0.1}}


def test_figures_of_forecasts_are_those_of_plain_arithmetic():
    found = truth(ACCURACY, PROBES, worthless="c")
    ridge = found.rankers()["ridge"]
    assert ridge == PROBES
    assert found.regret(ridge) == pytest.approx([0, 10])
    assert found.regret(ridge, 2) == pytest.approx([0, 0])
    assert found.first(ridge, "two") == "a"
    inside, count = found.covered()
    assert 4 <= inside <= count == 6
    [worthless] = [row for row in choosing.report(found) if "worthless" in row["what"]]
    assert (worthless["figure"], worthless["holds"]) == ("0", True)


def test_history_is_of_other_targets_alone():
    """With the truth of a target turned round, its forecasts stay, and those of the other turn."""
    turned = ACCURACY | {"two": {"a": 0.2, "b": 0.8, "c": 0.9}}
    before, after = truth(ACCURACY, PROBES), truth(turned, PROBES)
    assert before.forecasts("two") == after.forecasts("two")
    assert before.rankers()["history"]["two"] == after.rankers()["history"]["two"]
    assert before.forecasts("one") != after.forecasts("one")


def test_concordance_is_kendalls():
    """Of three judges and four things, by the formula with ranks typed out, one of them with a tie."""
    same = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert concordance([same, same, same]) == pytest.approx(1)
    other = {"a": 2.0, "b": 1.0, "c": 4.0, "d": 4.0}
    ranks = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [2, 1, 3.5, 3.5]])
    squares = ((ranks.sum(0) - 7.5) ** 2).sum()
    assert concordance([same, same, other]) == pytest.approx(12 * squares / (9 * 60 - 3 * 6))


def test_history_alone_keeps_its_bars_on_the_public_tables():
    """The bars, and a single set of past targets against SciPy on z-scores made here."""
    for file, limit in choosing.TABLES.values():
        assert np.mean(PublicTable.read(MEASURED / file).by_history(choosing.PAST)) >= limit
    table = PublicTable.read(MEASURED / "sfda.csv")
    past = ("cars", "dtd", "pets")
    names = list(table.parameters)
    columns = np.array([[table.accuracy[target][name] for name in names] for target in past])
    z = ((columns - columns.mean(1, keepdims=True)) / columns.std(1, keepdims=True)).mean(0)
    food = [table.accuracy["food"][name] for name in names]
    assert table._tau(table.accuracy["food"], past) == pytest.approx(weightedtau(z, food).statistic)
