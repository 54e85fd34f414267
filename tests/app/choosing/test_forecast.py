"""Forecasts by their rules: sums of their terms, the same whatever the order, and honest where nothing is known."""

import math

import numpy as np
import pytest

from app.choosing.forecast import OFFSETS, CandidateFacts, Past, Question, forecast
from app.choosing.history import Level, PastStanding, PastStandings
from app.contract.recommendation import Evidence, MeasuredAccuracy


def probed(checkpoint, accuracy, n=400, unchanged=None):
    return Evidence(
        checkpoint=checkpoint,
        images=n,
        features=64,
        probe=MeasuredAccuracy(accuracy=accuracy, interval=(accuracy - 0.05, accuracy + 0.05), n=n),
        unchanged=unchanged
        and MeasuredAccuracy(accuracy=unchanged, interval=(unchanged - 0.05, unchanged + 0.05), n=n),
        scores=[],
    )


def candidate(id_, *, knows=False, keeps=False):
    return CandidateFacts(id_, id_, 1000, knows_classes=knows, keeps_head=keeps)


GOOD, BAD = probed("ckpt_good", 0.8), probed("ckpt_bad", 0.3)
BOTH = Question(labels=None, candidates=[candidate("ckpt_good"), candidate("ckpt_bad")])


def test_the_better_features_are_first_and_the_terms_are_the_sum():
    found = forecast(BOTH, [GOOD, BAD])
    assert [entry.rank for entry in found.entries] == list(range(1, 8))
    first = found.entries[0]
    assert (first.checkpoint, first.method) == ("ckpt_good", "fine_tune")
    total = sum(term.contribution for term in first.evidence)
    assert first.predicted.accuracy == pytest.approx(1 / (1 + math.exp(-total)), abs=0.02)
    assert sum(entry.predicted.p_best for entry in found.entries) == pytest.approx(1)
    for entry in found.entries:
        low, high = entry.predicted.interval
        assert 0 < low < entry.predicted.accuracy < high < 1
        assert entry.reasons
    assert found.unchanged is None
    assert found.scratch == next(e.predicted.accuracy for e in found.entries if e.method == "train")


def test_the_order_of_what_is_asked_changes_nothing():
    backwards = Question(labels=None, candidates=BOTH.candidates[::-1])
    assert forecast(BOTH, [GOOD, BAD]) == forecast(backwards, [BAD, GOOD])


def test_one_candidate_more_leaves_the_forecasts_of_the_others():
    alone = forecast(Question(labels=None, candidates=[candidate("ckpt_good")], scratch=False), [GOOD])
    among = forecast(BOTH, [GOOD, BAD])
    for entry in alone.entries:
        [same] = [one for one in among.entries if (one.checkpoint, one.method) == (entry.checkpoint, entry.method)]
        assert same.predicted.accuracy == entry.predicted.accuracy
        assert same.predicted.interval == entry.predicted.interval


def test_intervals_hold_what_the_model_says_in_ninety_of_a_hundred():
    """Truths drawn as the past pairs are spread, around a probe that was itself measured on 400 images."""
    random = np.random.default_rng(0)
    offset = OFFSETS["fine_tune", "new"]
    inside = 0
    for k in range(400):
        truth = 1 / (1 + math.exp(-random.normal(0.5, 1)))
        seen = random.binomial(400, truth) / 400
        reached = 1 / (1 + math.exp(-(math.log(truth / (1 - truth)) + random.normal(offset.mean, offset.deviation))))
        question = Question(None, [candidate(f"ckpt_{k}")], methods=["fine_tune"], scratch=False)
        [entry] = forecast(question, [probed(f"ckpt_{k}", seen)]).entries
        low, high = entry.predicted.interval
        inside += low <= reached <= high
    assert 340 <= inside <= 380


def test_more_images_narrow_the_interval():
    few, many = (forecast(BOTH, [probed("ckpt_good", 0.8, n)]).entries[0].predicted.interval for n in (20, 1000))
    assert many[1] - many[0] < few[1] - few[0]


def test_the_unchanged_checkpoint_stays_a_choice_and_a_measure():
    question = Question(labels=None, candidates=[candidate("ckpt_one", knows=True, keeps=True)])
    found = forecast(question, [probed("ckpt_one", 0.7, unchanged=0.98)])
    first = found.entries[0]
    assert first.method == "evaluate"
    assert first.predicted.p_worse_than_unchanged is None
    probe = next(entry for entry in found.entries if entry.method == "linear_probe")
    assert probe.predicted.p_worse_than_unchanged > 0.9
    assert {warning["code"] for warning in probe.warnings} >= {"may_harm"}
    assert found.unchanged == first.predicted.accuracy


def test_finished_jobs_move_a_method_and_are_said():
    history = [Past("linear_probe", 2.0)] * 5
    question = Question(None, [candidate("ckpt_good")], history=history)
    found = forecast(question, [GOOD])
    assert found.entries[0].method == "linear_probe"
    [moved] = [term for term in found.entries[0].evidence if term.tier == 1]
    assert moved.value == 5
    assert moved.contribution == pytest.approx(10 / 6)
    assert any("5 of your finished jobs" in reason for reason in found.entries[0].reasons)


LEVELS = {"fine_tune": Level(mean=1.0, deviation=0.5, spread=0.8, targets=4)}
STOOD = PastStandings({"ckpt_good": PastStanding(-1.0, 4), "ckpt_bad": PastStanding(1.0, 4)}, LEVELS)


def fine_tuned(found):
    return {entry.checkpoint: entry for entry in found.entries if entry.method == "fine_tune"}


def total(entry):
    return sum(term.contribution for term in entry.evidence)


def test_before_any_features_finished_jobs_alone_foretell():
    question = Question(None, [*BOTH.candidates, candidate("ckpt_new")], standings=STOOD, scratch=False)
    found = forecast(question, [])
    assert [(entry.checkpoint, entry.method) for entry in found.entries] == [
        ("ckpt_bad", "fine_tune"),
        ("ckpt_good", "fine_tune"),
    ]
    first, second = found.entries
    assert total(first) == pytest.approx(1.0 + 0.8 * 4 / 5)
    assert total(second) == pytest.approx(1.0 - 0.8 * 4 / 5)
    assert {term.tier for term in first.evidence} == {1}
    assert any("1.0 deviations above" in reason for reason in first.reasons)
    low, high = first.predicted.interval
    assert low < 1 / (1 + math.exp(-total(first))) < high
    assert high - low > 0.3, "nothing was seen of these images"


def test_where_a_checkpoint_stood_elsewhere_is_weighed_against_its_features():
    alone, both = (
        fine_tuned(forecast(BOTH, [GOOD, BAD])),
        fine_tuned(forecast(Question(None, BOTH.candidates, standings=STOOD), [GOOD, BAD])),
    )
    assert total(both["ckpt_bad"]) > total(alone["ckpt_bad"])
    assert total(both["ckpt_good"]) < total(alone["ckpt_good"])
    for id_, entry in both.items():
        [moved] = [term for term in entry.evidence if term.name == "standing"]
        assert moved.contribution == pytest.approx(total(entry) - total(alone[id_]))
        assert any("stood 1.0 deviations" in reason for reason in entry.reasons)
        narrow, wide = (
            np.diff(np.log(np.divide(one, np.subtract(1, one))))
            for one in (entry.predicted.interval, alone[id_].predicted.interval)
        )
        assert narrow < wide
    shift = sum(total(both[id_]) - total(alone[id_]) for id_ in both)
    assert shift == pytest.approx(0, abs=0.02), "finished jobs tell who is above whom, not where all are"


def test_a_single_checkpoint_with_history_is_above_nobody():
    some = PastStandings({"ckpt_good": STOOD.checkpoints["ckpt_good"]}, LEVELS)
    assert forecast(Question(None, BOTH.candidates, standings=some), [GOOD, BAD]) == forecast(BOTH, [GOOD, BAD])


def test_a_checkpoint_that_could_not_be_looked_at_is_not_foretold_by_history():
    failed = Evidence(checkpoint="ckpt_bad", failure="it takes no such images")
    found = forecast(Question(None, BOTH.candidates, standings=STOOD, scratch=False), [failed])
    assert [entry.checkpoint for entry in found.entries] == ["ckpt_good"]


def test_what_cannot_be_told_is_said():
    assert forecast(BOTH, []).because == "Nothing is measured yet."
    without = forecast(Question(0, BOTH.candidates), [Evidence(checkpoint="ckpt_good", images=50)])
    assert without.abstains
    assert "Without labels" in without.because
    assert without.to_decide["kind"] == "label"
    failed = forecast(BOTH, [Evidence(checkpoint="ckpt_good", failure="it takes no such images")])
    assert "it takes no such images" in failed.because
    single = forecast(Question(1, BOTH.candidates), [Evidence(checkpoint="ckpt_good", images=10)])
    assert "two of a class" in single.because


def test_a_close_race_asks_the_smallest_question_and_a_clear_one_none():
    close = forecast(BOTH, [probed("ckpt_good", 0.6, 40), probed("ckpt_bad", 0.6, 40)])
    assert close.to_decide["kind"] == "label"
    assert close.to_decide["expected_gain"] > 0.01
    many = forecast(BOTH, [probed("ckpt_good", 0.6, 900), probed("ckpt_bad", 0.6, 900)])
    assert many.to_decide["kind"] == "trial"
    alone = Question(None, [candidate("ckpt_good", knows=True)], methods=["evaluate"])
    sure = forecast(alone, [probed("ckpt_good", 0.5, unchanged=0.9)])
    assert sure.to_decide is None
