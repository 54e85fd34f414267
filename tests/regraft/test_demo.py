"""What the demo says of its figures."""

import pytest

from regraft.demo.report import difference
from regraft.types import SplitEvaluation
from worker.metrics.scores import wilson


def measured(right, n):
    return SplitEvaluation(split="test", n=n, accuracy=right / n, accuracy_interval=wilson(right, n))


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)],
)
def test_interval_of_a_difference(one, other, low, high):
    """Newcombe 1998, Interval estimation for the difference between independent proportions, table II, method 10."""
    assert difference(measured(*one), measured(*other)) == pytest.approx((low, high), abs=1e-4)
