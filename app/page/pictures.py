"""Pictures as SVG that needs no script: what is drawn where is decided here, how it looks in the style sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.models import plots
from app.models.plots import Chart
from app.models.report import GUARD
from app.page.visit import Json

WIDTH = 560  # of the axis from 0 to 100 %
LINE = 26  # height of a line of a forest plot
SHADES = 10  # of a matrix
MATRIX_SHOWN = 40  # classes; a larger matrix cannot be read
MOST_BARS = 200  # classes
CURVES = {"loss": "Loss", "accuracy": "Accuracy"}  # that come first, by their names


@dataclass(frozen=True)
class Whisker:
    """A share with its interval, on an axis from 0 to 1: `x`, `low` and `high` are across, `y` down."""

    name: str
    value: float
    interval: tuple[float, float] | None
    y: int
    kind: str = "adapted"  # by which it is coloured

    @property
    def x(self) -> float:
        return round(WIDTH * self.value, 1)

    @property
    def low(self) -> float:
        return self.x if self.interval is None else round(WIDTH * self.interval[0], 1)

    @property
    def high(self) -> float:
        return self.x if self.interval is None else round(WIDTH * self.interval[1], 1)


@dataclass(frozen=True)
class MatrixCell:
    """`shade` from 0 to `SHADES` − 1, by the share of its row."""

    count: int
    shade: int
    right: bool


def helped(evaluation: Json) -> list[Whisker]:
    """The model on the target beside what was there without it, and what is left of the source."""
    target, source, guard = evaluation["target"], evaluation.get("source"), evaluation.get("guard")
    found: list[tuple[str, float, Sequence[float] | None, str]] = []
    if before := target.get("before"):
        found.append(("target, unchanged", before["accuracy"], before["accuracy_interval"], "unchanged"))
    for other in guard["against"] if guard else ():
        if other.get("accuracy") is not None and not (before and other["name"] == "unchanged"):
            found.append((f"target, {other['name']}", other["accuracy"], None, "other"))
    found.append(("target, adapted", target["accuracy"], target["accuracy_interval"], "adapted"))
    if source:
        if before := source.get("before"):
            found.append(("source, unchanged", before["accuracy"], before["accuracy_interval"], "unchanged"))
        found.append(("source, adapted", source["accuracy"], source["accuracy_interval"], "source"))
    return [
        Whisker(name, value, None if interval is None else (interval[0], interval[1]), LINE * place, kind)
        for place, (name, value, interval, kind) in enumerate(found)
    ]


def forest(entries: Sequence[Json], names: Mapping[str, str]) -> list[Whisker]:
    """The forecasts of a recommendation, the best first; `names` are those of checkpoints."""
    return [
        Whisker(
            f"{entry['rank']}. {entry['method']['name']}, {_from(entry['checkpoint'], names)}",
            entry["predicted"]["accuracy"],
            (entry["predicted"]["interval"][0], entry["predicted"]["interval"][1]),
            LINE * place,
            "adapted" if place == 0 else "other",
        )
        for place, entry in enumerate(entries)
    ]


def leaderboard(candidates: Sequence[Json]) -> list[Whisker]:
    """The candidates of a tournament that have a score, the first ahead."""
    judged = [one for one in candidates if one["accuracy"] is not None]
    return [
        Whisker(
            f"{one['rank']}. {one['method']['name']}",
            one["accuracy"],
            (one["interval"][0], one["interval"][1]),
            LINE * place,
            "adapted" if one["rank"] == 1 else "other",
        )
        for place, one in enumerate(judged)
    ]


def curves(points: Sequence[Json]) -> list[Chart]:
    """A chart of each of the model's own series, all splits in it, loss and accuracy first."""
    series: dict[str, dict[str, list[plots.Point]]] = {}
    for point in points:
        if point["name"].startswith(GUARD):
            continue
        part, _, name = point["name"].rpartition("/")
        label = f"{part} {point['split']}".strip()
        series.setdefault(name, {}).setdefault(label, []).append((point["epoch"], point["value"]))
    order = sorted(series, key=lambda name: (list(CURVES).index(name) if name in CURVES else len(CURVES), name))
    charts = [plots.chart(CURVES.get(name, name.replace("_", " ")), series[name]) for name in order]
    return [chart for chart in charts if chart is not None]


def matrix(measured: Json) -> list[list[MatrixCell]] | None:
    """Rows are true classes, columns predicted ones; None where it was not kept, or is too large to be read."""
    confusion = measured.get("confusion")
    if not confusion or len(confusion) > MATRIX_SHOWN:
        return None
    return [
        [MatrixCell(count, _shade(count, sum(row)), k == j) for j, count in enumerate(row)]
        for k, row in enumerate(confusion)
    ]


def _shade(count: int, whole: int) -> int:
    return min(SHADES - 1, round(SHADES * count / whole)) if whole else 0


def _from(checkpoint: str | None, names: Mapping[str, str]) -> str:
    return "from nothing" if checkpoint is None else names.get(checkpoint, checkpoint)


def balance(dataset: Json) -> list[plots.Bar]:
    """Images of each class in the training split, or where that has no labels in the test split."""
    counts, classes = dataset["counts"], dataset["classes"]
    if not counts or not classes:
        return []
    shown = counts["train"] if any(counts["train"]) else counts["test"]
    return plots.bars(list(zip(classes, shown, strict=True))[:MOST_BARS])
