"""Parameters that every method with a training loop shares, and how their open defaults are closed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator
from pydantic.json_schema import JsonSchemaValue

from app.contract.augmentation import AugmentationStep, RandomCrop
from app.contract.base import NULL, OR_AUTO, StrictModel, either
from app.contract.mixing import Mixing
from app.contract.recipe import Count, LearningRate, Optimizer
from app.core.errors import Detail
from app.methods.base import Method
from app.methods.facts import DatasetFacts, JobFacts, fault
from app.methods.terms.registry import Terms

MIN_STEPS = 300  # a run on defaults is at least this long, however small the data


class Rates(NamedTuple):
    learning_rate: float
    weight_decay: float


USUAL: dict[Optimizer, Rates] = {"sgd": Rates(0.01, 5e-4), "adamw": Rates(1e-3, 0.01)}


Scheduler = Literal["cosine", "step", "constant"]
Metric = Literal["accuracy", "nll"]


@dataclass(frozen=True)
class Schedule:
    """The schedule that a training loop follows, nothing of it left open.

    None says that something is not done: long gradients are not shortened, weights are not averaged, the training is
    not stopped early, the gradient is that of the weights themselves (`sharpness`: at a distance ρ above them).
    `divisible`: the loss of a batch is the mean of its examples', so that it may be computed in micro-batches, of
    `micro_batch_size` examples or of as many as memory holds.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    scheduler: Scheduler = "cosine"
    warmup_epochs: float = 0.0
    augmentation: tuple[AugmentationStep, ...] = ()
    max_gradient_norm: float | None = None
    average: float | None = None
    sharpness: float | None = None
    swad: "Swad | None" = None
    patience: int | None = None
    metric: Metric = "accuracy"
    divisible: bool = False
    micro_batch_size: int | None = None


class LabelBudget(Method):
    """A limit to how much of the labelled training split a job may see; seeded, and nested: the 5 are among the 10."""

    limits_labels = True

    labels_per_class: Count | None = None
    train_size: Count | None = None

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        target = facts.target
        if target.splits is not None:
            if self.train_size is not None and self.train_size > target.train_count:
                yield fault(
                    "method.train_size",
                    f"{self.train_size} images are asked for; the training split of {target.id} has "
                    f"{target.train_count}.",
                )
            smallest, count = target.smallest_class or (None, 0)
            if self.labels_per_class is not None and smallest is not None and self.labels_per_class > count:
                yield fault(
                    "method.labels_per_class",
                    f"{self.labels_per_class} images of each class are asked for; "
                    f"the training split of {target.id} has {count} of class {smallest!r}.",
                )
        yield from super().check(facts)


class Guardable(LabelBudget):
    """`guard`: also spend the same labels and steps on a linear probe and on a network from scratch, look at the source
    unchanged, and say with an interval whether the transfer helped."""

    guard: bool = False

    @property
    def guarded(self) -> bool:
        return self.guard


class EarlyStopping(StrictModel):
    """Stop when the validation `metric` has not improved for `patience` epochs.

    For `accuracy` stands mean average precision where an image has any number of labels.
    """

    patience: Annotated[int, Field(ge=1, le=1000)] = 10
    metric: Metric = "accuracy"


class Sam(StrictModel):
    """Sharpness-aware minimisation (Foret et al. 2021): every step follows the gradient that the loss has at a distance
    of `rho` from the weights, in the direction in which it grows fastest; it costs two steps."""

    name: Literal["sam"] = "sam"
    rho: Annotated[float, Field(gt=0, le=10)] = 0.05


class Swad(StrictModel):
    """Stochastic weight averaging, densely (Cha et al. 2021): what is kept is the mean of the weights after every step
    from the epoch whose validation loss is the least of `optimum_patience` that it begins, to the last one before
    `overfit_patience` in a row with more than `tolerance` times the mean loss of those first."""

    optimum_patience: Annotated[int, Field(ge=1, le=1000)] = 3
    overfit_patience: Annotated[int, Field(ge=1, le=1000)] = 6
    tolerance: Annotated[float, Field(ge=1, le=1000)] = 1.3


class Loop(Method):
    """Parameters of a training loop: how long, how fast and on what pixels a method learns.

    `class_weights` weighs the loss, `sampling` the drawing of examples, so that all classes count alike (of several
    labels: the positives of each as much as its negatives, and an image as one of its rarest class).  `terms` join the
    loss.  `calibrate`: one temperature for all scores, fitted on the validation split, is kept in the head.
    `max_gradient_norm`: longer gradients, of all weights together, are shortened to that.
    """

    epochs: Annotated[Annotated[int, Field(ge=1, le=100_000)] | None, OR_AUTO] = None
    batch_size: Annotated[Annotated[int, Field(ge=1, le=65_536)] | None, OR_AUTO] = None
    learning_rate: Annotated[LearningRate | None, OR_AUTO] = None
    optimizer: Optimizer = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Annotated[float, Field(ge=0, le=10)] | None, OR_AUTO] = None
    max_gradient_norm: Annotated[float, Field(gt=0, le=1e6)] | None = None
    scheduler: Scheduler = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augmentation: Literal["none", "auto"] | Annotated[list[AugmentationStep], Field(max_length=16)] = "auto"
    average: Annotated[float, Field(gt=0, lt=1)] | None = None

    def train_count(self, dataset: DatasetFacts) -> int | None:
        return dataset.train_count

    def epoch_images(self, dataset: DatasetFacts) -> int | None:
        count = self.train_count(dataset)
        return None if count is None else self._per_epoch(count)

    def steps(self, images: int) -> int | None:
        if self.epochs is None or self.batch_size is None:
            return None
        return self.epochs * math.ceil(images / self.batch_size)

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        """Close the open defaults for `train_count` training images of `size` (height, width)."""
        epoch_images = self._per_epoch(train_count)
        batch_size = self.batch_size or _batch_size(epoch_images)
        steps_per_epoch = math.ceil(epoch_images / batch_size)
        rate, decay = self.usual()
        closed: dict[str, object] = {
            "learning_rate": rate if self.learning_rate is None else self.learning_rate,
            "weight_decay": decay if self.weight_decay is None else self.weight_decay,
            "batch_size": batch_size,
            "epochs": self.epochs or max(10, math.ceil(self._fewest_steps() / steps_per_epoch)),
        }
        if self.augmentation == "auto":
            closed["augmentation"] = self._auto_augmentation(size)
        elif self.augmentation == "none":
            closed["augmentation"] = []
        return self.model_copy(update=closed)

    @property
    def schedule(self) -> Schedule:
        """The schedule of resolved parameters.

        Raises:
            ValueError: something is left open.
        """
        augmentation = self.augmentation
        if self.epochs is None or self.batch_size is None or self.learning_rate is None or self.weight_decay is None:
            raise ValueError("defaults are left open: see `resolve`")
        if isinstance(augmentation, str):
            raise ValueError("the augmentation is left open: see `resolve`")
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            momentum=self.momentum,
            scheduler=self.scheduler,
            warmup_epochs=self.warmup_epochs,
            augmentation=tuple(augmentation),
            max_gradient_norm=self.max_gradient_norm,
            average=self.average,
        )

    def usual(self) -> Rates:
        """Learning rate and weight decay where they are left open."""
        return USUAL[self.optimizer]

    def _fewest_steps(self) -> int:
        return MIN_STEPS

    def _per_epoch(self, train_count: int) -> int:
        return train_count

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return [RandomCrop(padding=max(1, min(size) // 8))]


class DenselyAveraging(Loop):
    """`swad`: what is kept is the mean of the weights over all steps in which the validation loss is about its least;
    batch norm's statistics are then taken anew.  It does not go with `average`."""

    between_fields: ClassVar[tuple[JsonSchemaValue, ...]] = (either({"swad": NULL}, {"average": NULL}),)

    swad: Swad | None = None

    @property
    def schedule(self) -> Schedule:
        """The schedule of resolved parameters, with dense averaging.

        Raises:
            ValueError: something is left open.
        """
        return replace(super().schedule, swad=self.swad)

    @model_validator(mode="after")
    def _one_average(self) -> Self:
        if self.swad is not None and self.average is not None:
            raise ValueError("`swad` and `average` are two ways to average the weights: give one of them")
        return self


class Training(DenselyAveraging, Guardable):
    """Learning from the target's labels.

    `micro_batch_size`: a batch is taken in parts of at most so many examples, and their gradients are accumulated.
    `class_weights` weighs the loss, `sampling` the drawing of examples, so that all classes count alike.  `terms` join
    the loss.  `calibrate`: one temperature for all scores, fitted on the validation split, is kept in the head.
    `precision`: `bfloat16` is automatic mixed precision; `auto` takes it where a long training is clearly faster by it,
    in a trial, and so does `layout` with the layout of images and weights in memory: then the same seed may give other
    bytes.
    `compile`: by `torch.compile`, which takes a minute or so before the first step.
    `sharpness`: flat minima are looked for, at twice the cost of a step.
    `terms` go neither with `precision` `bfloat16` nor with `compile`; `micro_batch_size` goes with neither `terms` nor
    `class_weights`.
    """

    between_fields: ClassVar[tuple[JsonSchemaValue, ...]] = (
        either({"terms": {"maxItems": 0}}, {"precision": {"enum": ["float32", "auto"]}, "compile": {"const": False}}),
        either({"micro_batch_size": NULL}, {"terms": {"maxItems": 0}, "class_weights": NULL}),
    )
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    layout: Literal["usual", "auto"] = "usual"
    compile: bool = False
    micro_batch_size: Annotated[int, Field(ge=4, le=65_536)] | None = None
    mixing: Mixing | None = None
    class_weights: Literal["balanced"] | None = None
    sampling: Literal["balanced"] | None = None
    early_stopping: EarlyStopping | None = None
    sharpness: Sam | None = None
    terms: Terms = []
    calibrate: bool = False

    @property
    def calibrated(self) -> bool:
        return self.calibrate

    @property
    def all_epochs(self) -> int:
        """The epochs of all halves of the training, where the defaults are closed."""
        return self.epochs or 0

    @property
    def divisible(self) -> bool:
        """Tell whether the loss of a batch is the mean of its parts' losses."""
        return not self.terms and self.class_weights is None

    @property
    def schedule(self) -> Schedule:
        """The schedule of resolved parameters, with early stopping and accumulation.

        Raises:
            ValueError: something is left open.
        """
        stopping = self.early_stopping
        return replace(
            super().schedule,
            patience=stopping.patience if stopping else None,
            metric=stopping.metric if stopping else "accuracy",
            sharpness=self.sharpness.rho if self.sharpness else None,
            divisible=self.divisible,
            micro_batch_size=self.micro_batch_size,
        )

    @model_validator(mode="after")
    def _terms_look_into_the_network(self) -> Self:
        for name, switched_on in (("precision", self.precision == "bfloat16"), ("compile", self.compile)):
            if switched_on and self.terms:
                raise ValueError(f"`{name}` does not go with `terms`, which look into the network")
        return self

    @model_validator(mode="after")
    def _micro_batches_are_of_a_mean(self) -> Self:
        if self.micro_batch_size is not None and not self.divisible:
            raise ValueError("`micro_batch_size` goes with neither `terms` nor `class_weights`")
        return self

    def passes(self, images: int) -> tuple[float, float]:
        without, learned = super().passes(images)
        return without, learned * (2 if self.sharpness else 1)

    def usual(self) -> Rates:
        usual = super().usual()
        return (
            usual._replace(weight_decay=0.0) if any(term.info.replaces_weight_decay for term in self.terms) else usual
        )

    def networks(self) -> dict[str, str]:
        named = ((i, term.networks()) for i, term in enumerate(self.terms))
        return {f"terms.{i}.{param}": id_ for i, networks in named for param, id_ in networks.items()}

    def heads(self) -> dict[str, str | None]:
        heads = super().heads()
        for i, term in enumerate(self.terms):
            heads |= term.heads(f"method.terms.{i}")
        return heads

    def train_count(self, dataset: DatasetFacts) -> int | None:
        if self.labels_per_class is None:
            return dataset.train_count
        if dataset.multi_label:
            return None
        if dataset.counts is None:
            return min(dataset.train_count, self.labels_per_class * len(dataset.classes or ()))
        return sum(min(int(count), self.labels_per_class) for count in dataset.counts["train"])

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        yield from super().check(facts)
        yield from self.check_transfer(facts)
        target = facts.target
        if self.guard and facts.source is None:
            yield fault("method.guard", f"`{self.name}` transfers nothing that could be compared with its absence.")
        if self.guard and target.lacks("test"):
            yield fault("method.guard", f"The test split of {target.id} is empty: nothing can be compared on it.")
        if self.swad is not None and target.lacks("validation"):
            yield fault(
                "method.swad", f"It goes by the validation loss, and the validation split of {target.id} is empty."
            )
        if self.calibrate and target.lacks("validation"):
            detail = f"A temperature is fitted on the validation split, and that of {target.id} is empty."
            yield fault("method.calibrate", detail)

    def check_transfer(self, facts: JobFacts) -> Iterator[Detail]:
        """Reasons why what is to be taken over from a source, or a teacher, is not there."""
        for i, term in enumerate(self.terms):
            yield from term.check(f"method.terms.{i}", self.name, facts)

    def check_networks(self, facts: JobFacts) -> Iterator[Detail]:
        for i, term in enumerate(self.terms):
            yield from term.check_kind(f"method.terms.{i}", facts)

    def _per_epoch(self, train_count: int) -> int:
        return min(train_count, self.train_size or train_count)


def _batch_size(train_count: int) -> int:
    """A power of two, 8 to 128, that gives at least some eight batches an epoch."""
    exponent = int(math.log2(max(8, train_count / 8)))
    return int(min(128, 2**exponent))
