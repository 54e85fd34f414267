"""`vpt`: learned tokens among those of a frozen vision transformer."""

from app.contract.extended import PromptParts
from app.methods.supervised.vpt import Vpt
from worker.methods import transferred
from worker.methods.supervised import extending
from worker.methods.task import Adapted, Task


def run(task: Task, params: Vpt) -> Adapted:
    """Jia et al. 2022, eq. 4 and 5 for the first block alone, eq. 6 and 7 for all."""
    parts = PromptParts(tokens=params.tokens, deep=params.deep)
    return extending.learn(task, params, transferred.start(task, params.input), parts)
