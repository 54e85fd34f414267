"""Places of checkpoints by several measures of their features, against plain arithmetic."""

import math

import numpy as np
import pytest
from scipy.stats import zscore

from app.choosing.consensus import placed
from app.choosing.forecast import CandidateFacts, Question, forecast
from app.contract.recommendation import Evidence, EvidenceScore, MeasuredAccuracy

LOGITS = {"a": 1.0, "b": 0.0, "c": -0.5, "d": 0.2}
LOG_ME = {"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.3}
PARC = {"a": 5.0, "b": 9.0, "c": None, "d": 1.0}


def found(checkpoint, *, accuracy=0.5, **scores):
    return Evidence(
        checkpoint=checkpoint,
        images=400,
        probe=MeasuredAccuracy(accuracy=accuracy, interval=(accuracy - 0.05, accuracy + 0.05), n=400),
        scores=[EvidenceScore(name=name, tier=2, value=value) for name, value in scores.items()],
    )


def test_every_measure_counts_the_same_and_one_without_a_value_not_at_all():
    seen = {name: found(name, log_me=LOG_ME[name], parc=PARC[name], h_score=7.0) for name in LOGITS}
    places = placed(LOGITS, seen)
    ridge = dict(zip(LOGITS, zscore(list(LOGITS.values())), strict=True))
    log_me = dict(zip(LOG_ME, zscore(list(LOG_ME.values())), strict=True))
    parc = dict(zip("abd", zscore([5.0, 9.0, 1.0]), strict=True))
    assert places["a"].z == pytest.approx((ridge["a"] + log_me["a"] + parc["a"]) / 3)
    assert places["c"].z == pytest.approx((ridge["c"] + log_me["c"]) / 2)
    spread = np.std(list(LOGITS.values()))
    for name, place in places.items():
        assert place.shift == pytest.approx(spread * (place.z - ridge[name]))


def test_two_or_equal_checkpoints_are_placed_nowhere():
    seen = {name: found(name, log_me=LOG_ME[name]) for name in LOGITS}
    assert placed({"a": 1.0, "b": 0.0}, seen) == placed(dict.fromkeys(LOGITS, 0.3), seen) == placed({}, {}) == {}
    equal = {name: found(name, log_me=1.0) for name in LOGITS}
    assert all(place.shift == pytest.approx(0) for place in placed(LOGITS, equal).values())


def test_a_forecast_has_the_place_as_a_term_of_its_sum():
    """By the regressions alone the last one would be second."""
    shares = {"a": 0.5, "b": 0.4, "c": 0.6}
    seen = [found(name, accuracy=share, log_me=LOG_ME[name]) for name, share in shares.items()]
    candidates = [CandidateFacts(name, name, 1000, knows_classes=False, keeps_head=False) for name in shares]
    entries = forecast(Question(None, candidates, methods=["fine_tune"], scratch=False), seen).entries
    assert [entry.checkpoint for entry in entries] == ["c", "b", "a"]
    for entry in entries:
        [term] = [one for one in entry.evidence if one.name == "scores"]
        assert term.tier == 2
        total = sum(one.contribution for one in entry.evidence)
        assert entry.predicted.accuracy == pytest.approx(1 / (1 + math.exp(-total)), abs=0.02)
        assert any("With other scores it is" in reason for reason in entry.reasons)
