"""`auto`: no method of its own, but the wish that checkpoint and method be chosen."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import ObjectId
from app.methods.base import Info, Method

MOST_CHECKPOINTS = 32


class Auto(Method):
    """Chooses among `checkpoints` (all that are ready, where neither these nor the job's `checkpoint` is given) and the
    methods that fit: by a recommendation, then by a tournament of its first entries, judged on labelled validation
    images; the result is the winner's.

    At most `max_jobs` are trained, beside the checkpoints unchanged.  `budget_s` seconds are turned once into so many
    candidates, and epochs, by what the recommendation says that each takes; nothing hangs on the clock after that.
    A target without labels has nothing to judge by: there is one checkpoint then, and the method is the one of
    docs/choosing.md.  `labels_per_class` limits the labels that are seen, as in other methods.
    """

    info = Info(
        summary="Let checkpoint and method be chosen: a forecast, a race of the best, one result.",
        when="You would rather not choose, or have several checkpoints.",
        needs=(),
        takes=("checkpoint", "target_labels", "source_data"),
        reference="Jamieson & Talwalkar 2016, Non-stochastic best arm identification and hyperparameter optimization",
        order=0,
    )

    delegates = True

    name: Literal["auto"] = "auto"
    checkpoints: Annotated[list[ObjectId], Field(min_length=1, max_length=MOST_CHECKPOINTS)] | None = None
    labels_per_class: Annotated[int, Field(ge=1)] | None = None
    max_jobs: Annotated[int, Field(ge=1, le=24)] = 8
    budget_s: Annotated[float, Field(gt=0, le=1e9)] | None = None
