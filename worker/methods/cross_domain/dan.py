"""`dan`: features of the same distribution in both domains."""

from app.methods.cross_domain.dan import Dan
from worker.methods.cross_domain import matching
from worker.methods.task import Adapted, Task
from worker.terms.mmd import mmd


def run(task: Task, params: Dan) -> Adapted:
    """Long et al. 2015, eq. 2 and 4, on what the head sees."""
    return matching.match(task, params, "mmd", lambda source, target: mmd(source.features_BD, target.features_BD))
