import math

import pytest

from app.models import plots


def points(curve):
    return [tuple(map(float, pair.split(","))) for pair in curve.path.split()]


def test_curves_share_their_axes():
    chart = plots.chart("Loss", {"train": [(0, 1.0), (4, 3.0)], "validation": [(2, 2.0)]})
    assert (chart.left, chart.right, chart.bottom, chart.top) == (0, 4, 1, 3)
    assert points(chart.curves[0]) == [(0, plots.HEIGHT), (plots.WIDTH, 0)]
    assert points(chart.curves[1]) == [(plots.WIDTH / 2, plots.HEIGHT / 2)]


def test_what_is_not_finite_is_left_out():
    chart = plots.chart("Loss", {"train": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)]})
    assert len(points(chart.curves[0])) == 2
    assert plots.chart("Loss", {"train": [(0, math.nan)]}) is None
    assert plots.chart("Loss", {}) is None


def test_one_value_lies_in_the_middle():
    assert points(plots.chart("Loss", {"train": [(1, 5.0)]}).curves[0]) == [(plots.WIDTH / 2, plots.HEIGHT / 2)]


def test_a_long_curve_is_thinned_and_keeps_its_last_point():
    [curve] = plots.chart("Loss", {"train": [(x, float(x % 7)) for x in range(10_001)]}).curves
    assert len(points(curve)) <= plots.MOST_POINTS + 1
    assert points(curve)[-1][0] == plots.WIDTH


def test_bars():
    found = plots.bars([("a", 0.5), ("b", None), ("c", 2.0)])
    assert [bar.width for bar in found] == [plots.WIDTH / 4, 0, plots.WIDTH]
    assert [bar.y for bar in found] == [0, plots.BAR, 2 * plots.BAR]
    assert plots.bars([("a", 0.5)], longest=1.0)[0].width == pytest.approx(plots.WIDTH / 2)
    assert plots.bars([("a", 0.0)])[0].width == 0
