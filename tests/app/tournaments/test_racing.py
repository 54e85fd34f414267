"""Who goes on after a rung, and who may be as good as the winner."""

import base64

import numpy as np
import pytest

from app.contract.tournament import Racer, RungScore
from app.tournaments import racing

N = 100


def racer(number, right, *, family="supervised", seconds=10.0, share=1 / 9, n=N, wrong_first=True, **changes):
    """Right on `right` images: the last ones, or the first."""
    hits = np.arange(n) >= n - right if wrong_first else np.arange(n) < right
    score = RungScore(share=share, step=1, total_steps=9, right=right, n=n, seconds=seconds)
    return Racer(
        number=number,
        method={"name": "fine_tune"},
        family=family,
        job=f"job_{number}",
        scores=[score],
        hits=base64.b64encode(np.packbits(hits).tobytes()).decode(),
        **changes,
    )


def cut(racers, *, first=False, left_s=None):
    return racing.after_rung(racers, first=first, left_s=left_s, to=1 / 3)


def test_a_third_goes_on_and_the_others_have_a_reason():
    found = cut([racer(i, right) for i, right in enumerate((10, 90, 20, 30, 95, 40), start=1)])
    assert found.kept == [5, 2]
    assert sorted(found.reasons) == [1, 3, 4, 6]
    assert "clearly worse than the best (95.0%): 2 of 6 went on" in found.reasons[6]


def test_what_is_not_clearly_worse_goes_on_too_up_to_half():
    assert cut([racer(i, 90 - i) for i in range(8)]).kept == [0, 1, 2, 3]
    assert cut([racer(i, 90 - 8 * i) for i in range(8)]).kept == [0, 1, 2]


def test_the_best_of_every_family_survives_the_first_rung():
    racers = [racer(1, 90), racer(2, 85), racer(3, 10, family="source_free"), racer(4, 9, family="source_free")]
    assert 3 in cut(racers, first=True).kept
    assert 3 not in cut(racers).kept
    assert 4 not in cut(racers, first=True).kept


def test_of_equals_the_unchanged_source_is_first():
    racers = [racer(1, 80), racer(2, 80, baseline="unchanged"), racer(3, 80, baseline="scratch")]
    assert [one.number for one in racing.by_accuracy(racers)] == [2, 1, 3]


def test_one_alone_goes_on():
    assert cut([racer(1, 0)]) == racing.Cut([1], {})


@pytest.mark.parametrize(("left_s", "kept"), [(None, [1, 2]), (41, [1, 2]), (39, [1]), (0, [1]), (-5, [1])])
def test_only_as_many_go_on_as_the_budget_suffices_for(left_s, kept):
    """Each took 10 s for a ninth: 20 s more to a third."""
    found = cut([racer(1, 90), racer(2, 89), racer(3, 10), racer(4, 5)], left_s=left_s)
    assert found.kept == kept
    assert all("budget" in found.reasons[number] for number in {1, 2} - set(kept))


def test_the_same_images_tell_more_than_the_two_accuracies():
    """Nested hits: never right where the other is wrong.  Their intervals overlap all the same."""
    one, other = racer(1, 80), racer(2, 70)
    assert racing.clearly_worse(other, one)
    assert not racing.clearly_worse(one, other)
    assert not racing.clearly_worse(racer(2, 70, wrong_first=False), one)
    fewer_labels = {"name": "fine_tune", "labels_per_class": 5}
    elsewhere = other.model_copy(update={"method": fewer_labels})
    assert not racing.clearly_worse(elsewhere, one), "judged on other images"
    assert racing.clearly_worse(racer(3, 30).model_copy(update={"method": fewer_labels}), one)


def test_six_images_decide_and_five_do_not():
    best = racer(1, 50, n=100)
    assert racing.clearly_worse(racer(2, 44), best)
    assert not racing.clearly_worse(racer(2, 45), best)


def test_what_was_never_scored_is_worse_than_all():
    never = racer(1, 1).model_copy(update={"scores": [], "hits": ""})
    assert racing.clearly_worse(never, racer(2, 0))
    assert not racing.clearly_worse(racer(2, 0), never)


def test_a_trial_goes_on_if_it_is_among_the_best_third_of_all_that_came_so_far():
    before = [racer(i, right) for i, right in enumerate((90, 80, 70, 10), start=1)]
    now = [racer(5, 85), racer(6, 60)]
    found = racing.among_all(now, [*before, *now], 1 / 9, left_s=None, to=1 / 3)
    assert (found.kept, list(found.reasons)) == ([5], [6])
    assert "best third of 6" in found.reasons[6]
