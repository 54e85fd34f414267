"""The report on a model, one HTML page that needs nothing else: figures, curves, and where every weight comes from."""

from collections.abc import Iterable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from app.contract.evaluation import Evaluation, Measured
from app.contract.transfer import TensorReport, TransferReport
from app.db.tables import Metric
from app.models import plots
from app.models.plots import Chart
from app.models.repository import Origin

CURVES = (("Loss", "loss"), ("Accuracy on the validation split", "accuracy"))
GUARD = "guard/"  # before the series of those that the model was compared with
CONFUSION_SHOWN = 40  # classes; a larger matrix cannot be read

_pages = Environment(
    loader=PackageLoader("app.models", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def render(origin: Origin, metrics: Sequence[Metric]) -> str:
    """`metrics` are those of the model's job, in the order of their steps."""
    model, job, dataset = origin.model, origin.job, origin.dataset
    transfer = TransferReport.load(model.transfer or {})
    evaluation = Evaluation.load(model.evaluation) if model.evaluation else None
    tensors = transfer.tensors or TensorReport()
    drift = transfer.drift
    return _pages.get_template("report.html").render(
        model=model,
        job=job,
        dataset=dataset,
        classes=model.classes or [],
        evaluation=evaluation,
        rows=[] if evaluation is None else _rows(evaluation),
        guard=evaluation and evaluation.guard,
        ablation=evaluation and evaluation.ablation,
        charts=_charts(metrics),
        origin={
            "copied": tensors.copied,
            "renamed": [f"{one.from_} → {one.to}" for one in tensors.renamed],
            "reshaped": [f"{one.name}: {one.from_} → {one.to}" for one in tensors.reshaped],
            "initialised": tensors.initialised,
        },
        adapters=transfer.adapters or [],
        drift=drift,
        drift_bars=drift and plots.bars([(line.layer, line.relative_l2) for line in drift.layers]),
        similarity={line.layer: line.cka for line in drift.layers} if drift else {},
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
    charts = [plots.chart(title, points[name]) for title, name in CURVES if name in points]
    return [chart for chart in charts if chart is not None]


def _rows(evaluation: Evaluation) -> list[tuple[str, Measured]]:
    rows = (("target", evaluation.target), ("source", evaluation.source))
    return [(name, measured) for name, measured in rows if measured is not None]


def _recall(evaluation: Evaluation | None, classes: Sequence[str]) -> list[plots.Bar]:
    if not evaluation:
        return []
    measured = evaluation.target
    names = measured.classes or classes
    return plots.bars(list(zip(names, measured.per_class, strict=False)), longest=1.0)
