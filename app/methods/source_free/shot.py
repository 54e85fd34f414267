"""`shot`: information maximisation and pseudo-labels under the source's frozen head."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field

from app.methods.base import Info
from app.methods.cross_domain.family import Selecting
from app.methods.source_free.family import SourceFree
from app.methods.training import MIN_STEPS, Loop

EPOCHS = 30
BATCH_SIZE = 64

Weight = Annotated[float, Field(ge=0, le=1000)]


class Shot(Loop, Selecting, SourceFree):
    """Minimises H(p) − `diversity` · H(mean of p) + `pseudo_labels` · cross-entropy with pseudo-labels.

    These come from each epoch's first weights.  `diversity` takes the target's classes to be about equally frequent:
    lower it where they are not.
    """

    info = Info(
        summary="Adapt the backbone to images without labels, under the source's frozen head.",
        when="The target has no labels, the same classes, each about as often, and the source's data cannot be had.",
        needs=("checkpoint",),
        reference="Liang, Hu & Feng 2020, Do we really need to access the source data?",
        order=380,
    )

    examples = {
        "": {},
        "averaged": {"average": 0.9, "diversity": 0.5, "label_smoothing": 0.1},
        "selected": {"selection": "entropy"},
    }

    name: Literal["shot"] = "shot"
    selection: Literal["target_validation", "entropy", "last"] = "last"
    diversity: Weight = 1.0
    pseudo_labels: Weight = 0.1

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        """Batches are no smaller where data is little: their mean prediction stands for the whole target's."""
        batch_size = self.batch_size or BATCH_SIZE
        epochs = self.epochs or max(EPOCHS, math.ceil(MIN_STEPS / math.ceil(train_count / batch_size)))
        opened = self.model_copy(update={"batch_size": batch_size, "epochs": epochs})
        return super(Shot, opened).resolve(train_count, size)
