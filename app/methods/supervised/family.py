"""Parts shared by the methods that continue training from the source's weights."""

from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.base import Text
from app.contract.inputs import InputOverride
from app.contract.recipe import Optimizer
from app.methods.training import Rates, Training

BatchNorm = Literal["adapted", "frozen"]
Factor = Annotated[float, Field(ge=0, le=1000)]

STEPS_ON_FEATURES = 1500  # compared with logistic regressions in docs/photographs.md


class Probing(Training):
    """A linear head on frozen features.

    Without augmentation, mixing and terms, features are computed once, centred and brought to one scale, which the head
    takes up afterwards: then a step costs next to nothing, and there are at least 1,500.
    """

    def _fewest_steps(self) -> int:
        sees_other_pixels = bool(self.augmentation) and not isinstance(self.augmentation, str)
        return super()._fewest_steps() if sees_other_pixels or self.mixing or self.terms else STEPS_ON_FEATURES


class Tuning(Training):
    """Learning rate of a weight = `learning_rate` × its group's factor.

    `trainable`: `all`, `head`, `last_stages` (the last `stages` stages of the backbone and the head), `norms` (their
    scales and shifts, and the head) or `biases` (and the head);
    what is not trained is frozen bit for bit, batch-norm statistics too.
    `frozen_epochs`: the head alone learns first.  `unfreeze_every`: then one more stage every so many epochs, from the
    last to the first.  `learning_rates` maps a tensor-name prefix to a factor of its own and wins over
    `backbone_factor` / `head_factor` (longest prefix first); `stage_decay` multiplies the backbone's factor once for
    every stage that lies between a weight and the head.  `batch_norm`: its statistics are `adapted` to the target's
    batches where it learns, or `frozen`: the source's, in every epoch.
    """

    trainable: Literal["all", "head", "last_stages", "norms", "biases"] = "all"
    stages: Annotated[int, Field(ge=1, le=64)] = 1
    frozen_epochs: Annotated[int, Field(ge=0, le=100_000)] = 1
    unfreeze_every: Annotated[int, Field(ge=1, le=100_000)] | None = None
    backbone_factor: Factor = 0.1
    stage_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    head_factor: Factor = 1.0
    batch_norm: BatchNorm = "adapted"
    learning_rates: Annotated[dict[Annotated[Text, Field(max_length=256)], Factor], Field(max_length=1000)] = {}
    input: InputOverride | None = None

    def probing(self) -> Probing:
        """The parameters of a probe that comes before the tuning, its defaults open."""
        return before(self)


class ParameterEfficient(Training):
    """A few numbers learn beside frozen weights, and the head.

    `head_start`: whether the head learns by itself, on frozen features, before the rest; left out, where it is newly
    drawn.  The learning rate is three times the usual one unless given.
    """

    optimizer: Optimizer = "adamw"
    head_start: Literal["probe", "none"] | None = None
    input: InputOverride | None = None

    def starting(self, *, head_kept: bool) -> Self:
        """Close `head_start`: `head_kept` tells whether the source's head goes on."""
        if self.head_start is not None:
            return self
        return self.model_copy(update={"head_start": "none" if head_kept else "probe"})

    def usual(self) -> Rates:
        usual = super().usual()
        return usual._replace(learning_rate=usual.learning_rate * 3)

    def probing(self) -> Probing:
        """The parameters of a probe that comes first, its defaults open."""
        return before(self)


def before(params: Training) -> Probing:
    """The parameters of a probe before a training, its defaults open."""
    shared = (
        "batch_size",
        "optimizer",
        "momentum",
        "weight_decay",
        "scheduler",
        "label_smoothing",
        "max_gradient_norm",
        "class_weights",
        "sampling",
        "early_stopping",
    )
    return Probing(augmentation="none", **{name: getattr(params, name) for name in shared})
