"""`shot`: information maximisation and pseudo-labels under the source's frozen head."""

from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.networks import NetworkSpec
from app.methods.base import Info
from app.methods.source_free.family import Minimising

Weight = Annotated[float, Field(ge=0, le=1000)]


class Shot(Minimising):
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
    diversity: Weight = 1.0
    pseudo_labels: Weight = 0.1

    def starting_from(self, network: NetworkSpec) -> Self:
        """A tenth of the usual rate where the network is one of torchvision or timm: as published, those that have
        learned photographs at large move less than those of digits."""
        if self.learning_rate is not None or not network.of_library:
            return self
        return self.model_copy(update={"learning_rate": 0.1 * self.usual().learning_rate})
