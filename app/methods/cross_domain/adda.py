"""`adda`: an encoder of the target's own, whose features pass for the source's."""

from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.base import OR_AUTO
from app.methods.base import Info
from app.methods.cross_domain.family import CrossDomain, Hidden
from app.methods.training import Rates


class Adda(CrossDomain):
    """The source's network stays as it is, head included; a copy of it learns until a discriminator takes its features
    of the target for the source's of the source.

    `pretrain_epochs` of learning from the source's labels come first: left out, none where the head is kept, else as
    many as `epochs`; `pretrain_learning_rate` is theirs.  The two encoders see batches of their own whatever
    `batch_norm` says.
    """

    info = Info(
        summary="An encoder of the target's own whose features pass for the source's, under the source's head.",
        when="The domains look too different for one encoder.",
        needs=("checkpoint", "source_data"),
        reference="Tzeng et al. 2017, Adversarial discriminative domain adaptation",
        order=310,
    )

    examples = {"": {"selection": "last"}, "pretrained": {"pretrain_epochs": 2}}

    name: Literal["adda"] = "adda"
    hidden: Hidden = 256
    pretrain_epochs: Annotated[Annotated[int, Field(ge=0, le=100_000)] | None, OR_AUTO] = None
    pretrain_learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.01
    batch_norm: Literal["separate"] = "separate"
    ramp: Annotated[float, Field(gt=0, le=1000)] | None = None

    def usual(self) -> Rates:
        usual = super().usual()
        return usual._replace(learning_rate=usual.learning_rate * 0.1)

    def pretraining(self, epochs: int) -> Self:
        """The first half; `self` has its defaults closed."""
        return self.model_copy(update={"epochs": epochs, "learning_rate": self.pretrain_learning_rate})
