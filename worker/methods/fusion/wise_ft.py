"""`wise_ft`: between the unchanged source and a tuned network."""

from functools import partial
from typing import Any

from app.methods.fusion.wise_ft import WiseFt
from worker.methods import measure
from worker.methods.fusion.family import VALIDATION, Merger
from worker.methods.task import Adapted, Task
from worker.networks import merge
from worker.networks.merge import Weights

SOURCE = "source_validation"


def run(task: Task, params: WiseFt) -> Adapted:
    """Wortsman et al. 2022b, Robust fine-tuning of zero-shot models, eq. 1.

    Every point of the curve has its statistics in the same way: taken anew between the ends alone, they would bend it.
    """
    merger = Merger(task, params, candidates=params.points if params.chooses else 0)
    if params.alpha is not None:
        return _adapted(merger, params.alpha, {"chosen": {"alpha": params.alpha}})
    others = _on_source(task)
    curve = [_point(merger, others, i / (params.points - 1)) for i in range(params.points)]
    chosen = max(curve, key=_rank)
    return _adapted(merger, chosen["alpha"], {"curve": curve, "chosen": chosen})


def _on_source(task: Task) -> dict[str, measure.Examine]:
    """The examination on the source's validation split, where that is known."""
    source, domain = task.known_source, task.source_domain
    if domain is None or not set(source.classes or domain.classes) & set(domain.classes):
        return {}
    examine = measure.examiner(task.run, source.input, source.classes, domain, domain.labelled("validation"))
    return {} if examine is None else {SOURCE: examine}


def _point(merger: Merger, others: dict[str, measure.Examine], alpha: float) -> dict[str, Any]:
    weights = partial(_at, merger, alpha)
    candidates = merger.look(f"alpha {alpha}", weights, others, merged=True, at=alpha)
    source = candidates.get(SOURCE)
    return {"alpha": alpha, "target": candidates[VALIDATION]._asdict(), "source": source and source._asdict()}


def _adapted(merger: Merger, alpha: float, about: dict[str, Any]) -> Adapted:
    return merger.adapted(_at(merger, alpha), merged=True, about=about)


def _rank(point: dict[str, Any]) -> tuple[float, float, float]:
    source = point["source"]["accuracy"] if point["source"] else 0.0
    return point["target"]["accuracy"], source, -point["target"]["nll"]


def _at(merger: Merger, alpha: float) -> Weights:
    [tuned] = merger.of.sources.values()
    return merge.between(merger.of.origin, tuned, alpha)
