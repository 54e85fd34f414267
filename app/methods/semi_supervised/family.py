"""Parameters of learning from few labels and many images: both together, at every step."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.augmentation import AugmentationStep, RandAugment, RandomErasing
from app.contract.base import ObjectId
from app.core.errors import Detail
from app.methods.facts import JobFacts, fault
from app.methods.start import Start
from app.methods.terms.base import Weight
from app.methods.training import LabelBudget

BATCH_SIZE = 32
FEWEST_STEPS = 1000  # of a run on defaults, however small the data
# RandAugment and then a box cut out, as FixMatch has it, less of both: in runs of a thousand steps more teaches less.
STRONGER: tuple[AugmentationStep, ...] = (RandAugment(num_ops=2, magnitude=9), RandomErasing(p=0.5, scale=(0.02, 0.25)))


class SemiSupervised(Start, LabelBudget):
    """Cross-entropy on the labels within the budget, plus `unlabelled_weight` times a term on images without: what is
    predicted of an image weakly augmented is to be predicted of it strongly augmented.

    The images without labels are all training images of the dataset `unlabelled`, else of the job's own dataset,
    those whose labels are seen among them.  A step takes `batch_size` images with labels, or all if there are fewer,
    and `unlabelled_ratio` times `batch_size` without; an epoch is one of the images without labels.
    `augmentation` is the weak one, of both; `strong_augmentation` left `auto` is the same, followed by `rand_augment`
    and `random_erasing`.
    What is validated and kept are the weights' averages, of decay `average` (null: the weights themselves).
    """

    unlabelled: ObjectId | None = None
    unlabelled_ratio: Annotated[int, Field(ge=1, le=64)] = 7
    unlabelled_weight: Weight = 1.0
    strong_augmentation: Literal["auto"] | Annotated[list[AugmentationStep], Field(max_length=18)] = "auto"
    average: Annotated[float, Field(gt=0, lt=1)] | None = 0.999

    @property
    def strong(self) -> Sequence[AugmentationStep]:
        """The steps of the strong augmentation, where the defaults are closed.

        Raises:
            ValueError: they are left open.
        """
        if isinstance(self.strong_augmentation, str):
            raise ValueError("the strong augmentation is left open: see `resolve`")
        return self.strong_augmentation

    def datasets(self) -> dict[str, str]:
        return {} if self.unlabelled is None else {"unlabelled": self.unlabelled}

    def epoch_datasets(self) -> Sequence[str]:
        return list(self.datasets().values())

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        """`train_count` is that of the images without labels, of which an epoch is one."""
        batch_size = self.batch_size or BATCH_SIZE
        steps_per_epoch = math.ceil(train_count / (batch_size * self.unlabelled_ratio))
        epochs = self.epochs or max(10, math.ceil(FEWEST_STEPS / steps_per_epoch))
        opened = self.model_copy(update={"batch_size": batch_size, "epochs": epochs})
        closed = super(SemiSupervised, opened).resolve(train_count, size)
        if isinstance(closed.strong_augmentation, list):
            return closed
        return closed.model_copy(update={"strong_augmentation": [*closed.schedule.augmentation, *STRONGER]})

    def steps(self, images: int) -> int | None:
        if self.epochs is None or self.batch_size is None:
            return None
        return self.epochs * math.ceil(images / (self.batch_size * self.unlabelled_ratio))

    def passes(self, images: int) -> tuple[float, float]:
        """Each image without a label is looked at, and learned from beside its share of those with one."""
        return float(images), images * (1 + 1 / self.unlabelled_ratio)

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        if self.unlabelled is not None and facts.datasets[self.unlabelled].lacks("train"):
            yield fault("method.unlabelled", f"The training split of {self.unlabelled} is empty.")
        yield from super().check(facts)
