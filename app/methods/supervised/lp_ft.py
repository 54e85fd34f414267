"""`lp_ft`: a linear probe first, then all weights from there."""

from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.base import OR_AUTO, StrictModel
from app.contract.recipe import LearningRate
from app.methods.base import Info
from app.methods.supervised.family import Factor, Probing, Tuning
from app.methods.training import Rates


class Probe(StrictModel):
    """The first half; what is left open is as in `linear_probe`."""

    epochs: Annotated[Annotated[int, Field(ge=1, le=100_000)] | None, OR_AUTO] = None
    learning_rate: Annotated[LearningRate | None, OR_AUTO] = None


class LpFt(Tuning):
    """The head learns on the frozen, unaugmented features; then everything goes on from there, more slowly than in
    `fine_tune`, so that the features are not bent to a head that knows nothing yet.
    """

    info = Info(
        summary="A linear probe first, then all weights from there.",
        when="Good features and few labels, or images that will also come from elsewhere: tuning alone bends the "
        "features.",
        needs=("checkpoint", "target_labels"),
        reference="Kumar et al. 2022, Fine-tuning can distort pretrained features and underperform out-of-distribution",
        multi_label=True,
        order=50,
    )

    examples = {"": {"probe": {"epochs": 2}}}

    name: Literal["lp_ft"] = "lp_ft"
    frozen_epochs: Annotated[int, Field(ge=0, le=100_000)] = 0
    backbone_factor: Factor = 1.0
    probe: Probe = Probe()

    def usual(self) -> Rates:
        usual = super().usual()
        return usual._replace(learning_rate=usual.learning_rate * 0.3)

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        closed = super().resolve(train_count, size)
        first = closed.probing().resolve(train_count, size)
        return closed.model_copy(update={"probe": Probe(epochs=first.epochs, learning_rate=first.learning_rate)})

    @property
    def all_epochs(self) -> int:
        return super().all_epochs + (self.probe.epochs or 0)

    def probing(self) -> Probing:
        return super().probing().model_copy(update=self.probe.model_dump())
