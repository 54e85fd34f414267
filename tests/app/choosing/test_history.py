"""Standings of checkpoints by finished jobs, against plain arithmetic and against a simulation of their own model."""

import math

import numpy as np
import pytest
from scipy.stats import zscore

from app.choosing.history import FEWEST, Finished, standings


def jobs(target, accuracies, method="fine_tune", **more):
    return [Finished(target, method, name, accuracy, **more) for name, accuracy in accuracies.items()]


def test_a_standing_is_the_mean_z_score_and_counts_by_its_targets():
    first, second = {"a": 0.9, "b": 0.6, "c": 0.3}, {"a": 0.5, "b": 0.4}
    found = standings([*jobs("one", first), *jobs("two", second)])
    z_one, z_two = zscore(list(first.values())), zscore(list(second.values()))
    assert found.checkpoints["a"].z == pytest.approx((z_one[0] + z_two[0]) / 2)
    assert found.checkpoints["c"].z == pytest.approx(z_one[2])
    assert found.checkpoints["c"].targets == 1
    assert found.checkpoints["a"].targets == 2
    assert found.checkpoints["a"].expected == pytest.approx(2 / 3 * found.checkpoints["a"].z)
    assert found.checkpoints["c"].expected == pytest.approx(1 / 2 * z_one[2])
    level = found.methods["fine_tune"]
    logits = [[math.log(x / (1 - x)) for x in of.values()] for of in (first, second)]
    assert level.mean == pytest.approx(np.mean([np.mean(of) for of in logits]))
    assert level.deviation == pytest.approx(np.std([np.mean(of) for of in logits], ddof=1))
    assert level.spread == pytest.approx(np.mean([np.std(of) for of in logits]))
    assert level.targets == 2


def test_only_like_is_compared_with_like():
    """Other methods, other labels and other images are groups of their own; who is alone in one stands nowhere."""
    alone = [*jobs("one", {"a": 0.9}), *jobs("one", {"b": 0.1}, method="linear_probe"), *jobs("two", {"c": 0.5})]
    alone += jobs("one", {"d": 0.2}, labels="5")
    assert FEWEST == 2
    assert standings(alone).checkpoints == standings([]).checkpoints == {}
    assert standings(alone).methods == {}


def test_equal_accuracies_and_extreme_ones_tell_nothing_false():
    assert standings(jobs("one", {"a": 0.5, "b": 0.5})).checkpoints == {}
    found = standings(jobs("one", {"a": 1.0, "b": 0.0}, n=10))
    assert all(math.isfinite(one.z) for one in found.checkpoints.values())
    assert math.isfinite(found.methods["fine_tune"].spread)


def test_seeds_are_one_accuracy_and_methods_one_target():
    seeds = [*jobs("one", {"a": 0.8, "b": 0.5}), *jobs("one", {"a": 0.6, "b": 0.5})]
    both = [*jobs("one", {"a": 0.8, "b": 0.5}), *jobs("one", {"a": 0.4, "b": 0.3}, method="linear_probe")]
    assert standings(seeds).checkpoints == standings(jobs("one", {"a": 0.7, "b": 0.5})).checkpoints
    [standing] = [one for name, one in standings(both).checkpoints.items() if name == "a"]
    assert standing.z == pytest.approx(1.0)
    assert standing.targets == 1


def test_what_few_test_images_explain_is_no_standing():
    few, many = (standings(jobs("one", {"a": 0.55, "b": 0.5}, n=n)).checkpoints["a"].z for n in (20, 20_000))
    assert 0 < few < 0.5
    assert many > 0.95


@pytest.mark.parametrize("targets", [1, 4])
def test_the_expected_z_score_and_its_deviation_are_right_on_data_of_their_model(targets):
    """Half of the variance is the checkpoint's: 4,000 checkpoints, seen on some targets and judged on another."""
    random = np.random.default_rng(0)
    own = random.normal(0, math.sqrt(0.5), 4000)
    past = [own + random.normal(0, math.sqrt(0.5), 4000) for _ in range(targets)]
    found = standings(
        [job for k, of in enumerate(past) for job in jobs(str(k), {str(c): 0.5 + 0.01 * z for c, z in enumerate(of)})]
    )
    truth = own + random.normal(0, math.sqrt(0.5), 4000)
    error = truth - [found.checkpoints[str(c)].expected for c in range(4000)]
    assert np.std(error) == pytest.approx(found.checkpoints["0"].deviation, rel=0.05)
    assert np.polyfit([found.checkpoints[str(c)].expected for c in range(4000)], truth, 1)[0] == pytest.approx(
        1, abs=0.1
    )
