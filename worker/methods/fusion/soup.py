"""`soup`: the mean of several tuned networks' weights."""

from functools import partial

from app.methods.fusion.soup import Soup
from worker.methods.fusion.family import Candidate, Merger
from worker.methods.task import Adapted, Task
from worker.networks import merge
from worker.networks.merge import Weights


def run(task: Task, params: Soup) -> Adapted:
    """Wortsman et al. 2022, recipe 1 (greedy) and the uniform soup."""
    merger = Merger(task, params, candidates=2 * len(params.sources) - 1 if params.chooses else 0)
    kept, about = _greedy(merger) if params.chooses else (list(params.sources), {})
    return merger.adapted(_mean(merger, kept), merged=len(kept) > 1, about={"chosen": {"sources": kept}, **about})


def _greedy(merger: Merger) -> tuple[list[str], dict[str, object]]:
    """The weights that are kept, and everything that was tried, in its order.  A soup is no worse than its best
    ingredient."""
    alone = {
        id_: merger.judge(f"alone {id_}", partial(_mean, merger, [id_]), merged=False) for id_ in merger.of.sources
    }
    first, *others = sorted(alone, key=lambda id_: _rank(alone[id_]), reverse=True)
    kept, best = [first], _rank(alone[first])
    tried: list[dict[str, object]] = [{"sources": [id_], **candidate._asdict()} for id_, candidate in alone.items()]
    for id_ in others:
        with_it = [*kept, id_]
        candidate = merger.judge(f"with {id_}", partial(_mean, merger, with_it), merged=True)
        tried.append({"sources": with_it, **candidate._asdict()})
        if _rank(candidate) > best:
            kept, best = with_it, _rank(candidate)
    return kept, {"candidates": tried}


def _rank(candidate: Candidate) -> tuple[float, float]:
    """The rank of a candidate: of equally accurate ones that of less loss is the better; on a small split ties are
    common, and say nothing."""
    return candidate.accuracy, -candidate.nll


def _mean(merger: Merger, ids: list[str]) -> Weights:
    return merge.mean([merger.of.sources[id_] for id_ in ids])
