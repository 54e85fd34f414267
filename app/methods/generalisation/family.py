"""Parameters of learning from several labelled datasets for one that is not seen."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contract.base import DISTINCT, ObjectId, either
from app.methods.start import Start

Weight = Annotated[float, Field(ge=0, le=1e6)]


class Generalisation(Start):
    """Learns from `environments`; the job's dataset is measured, and never learned from unless it is among them.

    The classes are those that all environments share by name.  A step takes `batch_size` images of each, through batch
    norm together.  `selection`: the weights with the best `mean` or `worst` accuracy on the validation splits of
    `validation`, a dataset of its own, else of the environments; or the `last`.  `leave_one_out`: also learn without
    each environment in turn, and measure on the one that was left out; it takes three of them.  `validation` is none
    of the environments.
    """

    between_fields = (either({"leave_one_out": {"const": False}}, {"environments": {"minItems": 3}}),)

    environments: Annotated[list[ObjectId], Field(min_length=2, max_length=16), DISTINCT]
    validation: ObjectId | None = None
    selection: Literal["mean", "worst", "last"] = "mean"
    leave_one_out: bool = False
    batch_size: Annotated[int, Field(ge=4, le=65_536)] | None = None

    @model_validator(mode="after")
    def _environments_differ(self) -> Self:
        if len(set(self.environments)) < len(self.environments):
            raise ValueError("an environment is named twice")
        if self.validation in self.environments:
            raise ValueError("`validation` is one of the environments: their validation splits are looked at anyway")
        if self.leave_one_out and len(self.environments) < 3:
            raise ValueError("`leave_one_out` needs three environments, so that two are left")
        return self

    def datasets(self) -> dict[str, str]:
        named = {f"environments.{i}": id_ for i, id_ in enumerate(self.environments)}
        return named if self.validation is None else named | {"validation": self.validation}


class Penalised(Generalisation):
    """The penalty counts `weight` (before: 1 at most) from optimiser step `penalty_from` on: left open, the 500th, in
    shorter runs the middle.  The optimiser starts afresh there, and only weights from after it are kept."""

    weight: Weight
    penalty_from: Annotated[int, Field(ge=0, le=10_000_000)] | None = None

    def turn(self, steps: int) -> int:
        """The step of `steps` at which the penalty gets its weight."""
        return min(500, steps // 2) if self.penalty_from is None else min(self.penalty_from, steps)
