"""Where a sweep's trials are drawn: the same for the same seed, spread at first, then near what was best."""

import math
from itertools import pairwise

import pytest

from app.contract.tournament import Racer, RungScore
from app.tournaments import sampler
from app.tournaments.entering import SPACE

DOCUMENT = {
    "method.learning_rate": {"log": [1e-4, 1e-1]},
    "method.momentum": {"uniform": [0, 0.9]},
    "method.epochs": {"integer": [2, 9]},
    "method.optimizer": ["sgd", "adamw"],
}
SPACE_OF_ALL = SPACE.validate_python(DOCUMENT)
RATE = {"method.learning_rate": SPACE_OF_ALL["method.learning_rate"]}


def trial(number, point, right, share=1.0, n=100):
    score = RungScore(share=share, step=1, total_steps=1, right=right, n=n, seconds=1.0)
    return Racer(number=number, method={}, family="supervised", job=f"job_{number}", drawn=point, scores=[score])


def sweep(space, truth, trials, seed=0, even=8):
    before = []
    for number in range(1, trials + 1):
        point = sampler.propose(space, seed, before, even=even)
        before.append(trial(number, point, truth(point)))
    return before


def test_the_same_seed_draws_the_same():
    points = [[racer.drawn for racer in sweep(SPACE_OF_ALL, lambda point: 50, 20, seed)] for seed in (1, 1, 2)]
    assert points[0] == points[1] != points[2]


def test_all_of_it_lies_in_the_space():
    for racer in sweep(SPACE_OF_ALL, lambda point: int(100 * point["method.momentum"]), 40):
        assert set(racer.drawn) == set(DOCUMENT)
        assert 1e-4 <= racer.drawn["method.learning_rate"] <= 1e-1
        assert 0 <= racer.drawn["method.momentum"] <= 0.9
        assert racer.drawn["method.epochs"] in range(2, 10)
        assert racer.drawn["method.optimizer"] in ("sgd", "adamw")


def test_the_first_are_spread_evenly_over_the_orders_of_magnitude():
    rates = sorted(racer.drawn["method.learning_rate"] for racer in sweep(RATE, lambda point: 50, 9, even=9))
    gaps = [math.log10(b / a) for a, b in pairwise(rates)]
    assert max(gaps) < 1


@pytest.mark.parametrize("seed", range(5))
def test_the_others_are_near_the_best(seed):
    """The best rate is 0.003; what is drawn after the first eight is nearer to it than what was spread."""

    def truth(point):
        return round(90 - 30 * abs(math.log10(point["method.learning_rate"] / 3e-3)))

    found = sweep(RATE, truth, 30, seed)
    away = [abs(math.log10(racer.drawn["method.learning_rate"] / 3e-3)) for racer in found]
    assert sum(away[8:]) / 22 < 0.7 * sum(away[:8]) / 8
    assert min(away) < 0.15


def test_the_better_of_two_choices_is_drawn_more_often():
    space = {"method.optimizer": SPACE_OF_ALL["method.optimizer"], **RATE}
    found = sweep(space, lambda point: 80 if point["method.optimizer"] == "sgd" else 20, 40)
    assert sum(racer.drawn["method.optimizer"] == "sgd" for racer in found[8:]) > 24


def test_nothing_is_drawn_twice_while_there_is_something_else():
    found = sweep({"method.epochs": SPACE_OF_ALL["method.epochs"]}, lambda point: point["method.epochs"], 8)
    assert len({racer.drawn["method.epochs"] for racer in found}) == 8


def test_trials_are_compared_at_a_rung_that_they_have_come_to():
    """The one at the end is right on more images than those at the rung, having trained longer."""
    at_rung = [trial(i, {"method.learning_rate": 10**-i}, 10 * i, share=1 / 9) for i in (1, 2, 3, 4)]
    longer = at_rung[0].model_copy(
        update={"scores": [*at_rung[0].scores, RungScore(share=1, step=1, total_steps=1, right=99, n=100, seconds=1)]}
    )
    seen = sampler._comparable(RATE, [longer, *at_rung[1:]])
    assert [round(accuracy, 2) for _, accuracy in seen] == [0.1, 0.2, 0.3, 0.4]
