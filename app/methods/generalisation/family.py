"""Parameters of learning from several labelled datasets for one that is not seen."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contract.base import DISTINCT, OR_AUTO, ObjectId, either
from app.core.errors import Detail
from app.methods.facts import JobFacts, fault, some
from app.methods.start import Start
from app.methods.training import DenselyAveraging

Weight = Annotated[float, Field(ge=0, le=1e6)]


class Generalisation(Start, DenselyAveraging):
    """Learns from `environments`; the job's dataset is measured, and never learned from unless it is among them.

    The classes are those that all environments share by name.  A step takes `batch_size` images of each, through batch
    norm together.  `selection`: the weights with the best `mean` or `worst` accuracy on the validation splits of
    `validation`, a dataset of its own, else of the environments; or the `last`.  `leave_one_out`: also learn without
    each environment in turn, and measure on the one that was left out; it takes three of them.
    """

    between_fields = (either({"leave_one_out": {"const": False}}, {"environments": {"minItems": 3}}),)

    learns_from_target = False
    compared = True

    environments: Annotated[list[ObjectId], Field(min_length=2, max_length=16), DISTINCT]
    validation: Annotated[ObjectId | None, Field(description="`validation` is none of the environments.")] = None
    selection: Literal["mean", "worst", "last"] = "mean"
    leave_one_out: bool = False
    batch_size: Annotated[Annotated[int, Field(ge=4, le=65_536)] | None, OR_AUTO] = None

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

    def epoch_datasets(self) -> Sequence[str]:
        return self.environments

    def turn(self, steps: int) -> int:
        """The step of `steps` at which a penalty gets its weight: the first, where there is none."""
        return 0

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        for param, id_ in self.datasets().items():
            if not facts.datasets[id_].training_labels:
                message = f"`{self.name}` learns from labels, but {facts.datasets[id_].has_none}."
                yield fault(f"method.{param}", message)
        yield from self._check_classes(facts)
        for param, id_ in self.datasets().items():
            split = "validation" if param == "validation" else "train"
            if facts.datasets[id_].lacks(split):
                yield fault(f"method.{param}", f"The {split} split of {id_} is empty.")
        if self.swad is not None and all(facts.datasets[id_].lacks("validation") for id_ in self.datasets().values()):
            yield fault("method.swad", "It goes by the validation loss, and no environment has validation images.")
        yield from super().check(facts)

    def _check_classes(self, facts: JobFacts) -> Iterator[Detail]:
        target, named = facts.target, [facts.datasets[id_].classes for id_ in self.environments]
        known = [set(classes) for classes in named if classes]
        if len(known) < len(named):  # still being processed, or without labels, which is said elsewhere
            return
        common = set.intersection(*known)
        if len(common) < 2:
            yield fault("method.environments", "The environments share fewer than two classes by name.")
        elif target.classes and not common & set(target.classes):
            yield fault(
                "dataset",
                f"{target.id} has no class that all environments have: {some(target.classes)} here, "
                f"{some(sorted(common))} there.",
            )


class Penalised(Generalisation):
    """The penalty counts `weight` (before: 1 at most) from optimiser step `penalty_from` on: left open, the 500th, in
    shorter runs the middle.  The optimiser starts afresh there, and only weights from after it are kept."""

    weight: Weight
    penalty_from: Annotated[int, Field(ge=0, le=10_000_000)] | None = None

    def turn(self, steps: int) -> int:
        return min(500, steps // 2) if self.penalty_from is None else min(self.penalty_from, steps)
