"""Curves and bars as SVG in a box of fixed size: what is drawn where is decided here, how it looks in the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 240
BAR = 18  # height of a bar and the gap after it
MOST_POINTS = 400  # a curve of more is thinned: no screen shows them

Point = tuple[float, float]
Points = Sequence[Point]


@dataclass(frozen=True)
class Curve:
    name: str
    path: str  # for the attribute `points` of a polyline


@dataclass(frozen=True)
class Chart:
    """Curves in one frame; `left` … `top` are what its edges stand for."""

    title: str
    curves: list[Curve]
    left: float
    right: float
    bottom: float
    top: float


@dataclass(frozen=True)
class Bar:
    name: str
    y: float
    width: float
    value: float | None


def chart(title: str, series: Mapping[str, Points]) -> Chart | None:
    """All of them on the same axes; None where nothing finite was measured."""
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    every = [point for points in finite.values() for point in points]
    if not every:
        return None
    left, right = min(x for x, _ in every), max(x for x, _ in every)
    bottom, top = min(y for _, y in every), max(y for _, y in every)

    def placed(x: float, y: float) -> str:
        across = (x - left) / (right - left) if right > left else 0.5
        up = (y - bottom) / (top - bottom) if top > bottom else 0.5
        return f"{across * WIDTH:.1f},{(1 - up) * HEIGHT:.1f}"

    curves = [Curve(name, " ".join(placed(*point) for point in _thinned(points))) for name, points in finite.items()]
    return Chart(title, curves, left, right, bottom, top)


def bars(values: Sequence[tuple[str, float | None]], longest: float | None = None) -> list[Bar]:
    """One under the other; `longest` is the value that fills the width, else the greatest does."""
    whole = longest or max((value for _, value in values if value), default=1.0)
    return [
        Bar(name, BAR * place, WIDTH * min(1.0, max(0.0, (value or 0.0) / whole)), value)
        for place, (name, value) in enumerate(values)
    ]


def _thinned(points: Points) -> Points:
    """Always with the last."""
    step = -(-len(points) // MOST_POINTS)
    return [*points[:-1:step], *points[-1:]]
