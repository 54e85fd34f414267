"""The report on a model, one HTML page that needs nothing else: figures, curves, and where every weight comes from."""

from collections.abc import Iterable, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from app.db.tables import Metric
from app.models import plots
from app.models.plots import Chart
from app.models.repository import Lineage

CURVES = (("Loss", "loss"), ("Accuracy on the validation split", "accuracy"))
GUARD = "guard/"  # before the series of those that the model was compared with
CONFUSION_SHOWN = 40  # classes; a larger matrix cannot be read

_pages = Environment(
    loader=PackageLoader("app.models", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def render(lineage: Lineage, metrics: Sequence[Metric]) -> str:
    """`metrics` are those of the model's job, in the order of their steps."""
    model, job, dataset = lineage.model, lineage.job, lineage.dataset
    transfer, evaluation = model.transfer or {}, model.evaluation
    tensors = transfer.get("tensors") or {}
    drift = transfer.get("drift")
    return _pages.get_template("report.html").render(
        model=model,
        job=job,
        dataset=dataset,
        classes=model.classes or [],
        evaluation=evaluation,
        rows=[(name, evaluation[name]) for name in ("target", "source") if evaluation and evaluation.get(name)],
        guard=(evaluation or {}).get("guard"),
        ablation=(evaluation or {}).get("ablation"),
        charts=_charts(metrics),
        origin={kind: _names(tensors.get(kind, ())) for kind in ("copied", "renamed", "reshaped", "initialised")},
        adapters=transfer.get("adapters") or [],
        drift=drift,
        drift_bars=drift and plots.bars([(line["layer"], line["relative_l2"]) for line in drift["layers"]]),
        similarity={line["layer"]: line["cka"] for line in drift["layers"]} if drift else {},
        recall_bars=_recall(evaluation, model.classes or []),
        confusion_shown=CONFUSION_SHOWN,
        size=plots,
    )


def _charts(metrics: Iterable[Metric]) -> list[Chart]:
    """The model's own curves: a series of a part of the run has the part's name before it."""
    points: dict[str, dict[str, list[plots.Point]]] = {}
    for metric in metrics:
        if not metric.name.startswith(GUARD):
            part, _, name = metric.name.rpartition("/")
            label = f"{part} {metric.split}".strip()
            points.setdefault(name, {}).setdefault(label, []).append((metric.epoch, metric.value))
    found = [plots.chart(title, points[name]) for title, name in CURVES if name in points]
    return [chart for chart in found if chart is not None]


def _names(entries: Iterable[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else _renamed(entry) for entry in entries]


def _renamed(entry: dict[str, Any]) -> str:
    if "name" in entry:
        return f"{entry['name']}: {entry['from']} → {entry['to']}"
    return f"{entry['from']} → {entry['to']}"


def _recall(evaluation: dict[str, Any] | None, classes: Sequence[str]) -> list[plots.Bar]:
    if not evaluation:
        return []
    measured = evaluation["target"]
    names = measured.get("classes") or classes
    return plots.bars(list(zip(names, measured["per_class"], strict=False)), longest=1.0)
