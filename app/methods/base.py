"""`Method`: what all methods share, and what each says of itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from app.contract.base import StrictModel
from app.contract.inputs import InputOverride, InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Recipe
from app.core.errors import Detail
from app.methods.facts import DatasetFacts, JobFacts, fault

Need = Literal["checkpoint", "target_labels", "source_data", "teacher", "environments", "sources"]
LAST = 10_000

# In examples: a network that is drawn anew, and what it takes.
SOME_NETWORK = {"name": "cnn3", "num_classes": 10}
SOME_INPUT = {"size": [32, 32], "channels": 3, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


@dataclass(frozen=True)
class Info:
    """Info is what `GET /v1/methods` and the table in the documentation say of a method.

    `needs` is what a job cannot do without, `takes` what it can use.  `multi_label`: it learns from images with any
    number of labels, too.  `order`: where it stands among the others; left out, after all that give one, by name.
    """

    summary: str
    when: str
    reference: str
    needs: tuple[Need, ...] = ()
    takes: tuple[Need, ...] = ()
    gives_model: bool = True
    multi_label: bool = False
    order: int = LAST


@dataclass(frozen=True)
class NewNetwork:
    """A network that is drawn anew, for images as `input` says: left out, as is usual for it."""

    spec: NetworkSpec
    input: InputSpec | None


class Method(StrictModel):
    """A job's `method`: its name, and all that a job may say of it.

    A method is a subclass with an `info` of its own and a `name` that is its module's, in the package of its family;
    `app.methods.registry` finds it there, and the function of the same path in `worker.methods` carries it out.

    `examples` are parameters, by what is added to the method's name for them, that show its sides: each is run by the
    tests that hold for every method, at a size of theirs.  Ids in them stand for any object of their kind.

    Traits, which a family or a method overrides:
    `learns_from_target`: it learns from the training split of the job's dataset.
    `label_space`: whose classes the target's are among (closed-set adaptation), the source's or those of its dataset.
    `asks_source`: the source's head is asked for classes.
    `headless`: the result is there for its features and says nothing of classes.
    `limits_labels`: its parameters may limit how many labels it sees.
    `compared`: the result always stands beside the unchanged source, since no label of the target has told that it
    helps.
    `delegates`: it is carried out by jobs of others, among which it chooses.
    """

    info: ClassVar[Info]
    examples: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    learns_from_target: ClassVar[bool] = True
    label_space: ClassVar[Literal["source", "source_dataset"] | None] = None
    asks_source: ClassVar[bool] = False
    headless: ClassVar[bool] = False
    limits_labels: ClassVar[bool] = False
    compared: ClassVar[bool] = False
    delegates: ClassVar[bool] = False

    if TYPE_CHECKING:  # a field of each method, where it stands among the others

        @property
        def name(self) -> str: ...

    @property
    def guarded(self) -> bool:
        """Tell whether the result is compared with what the same labels and steps give without the transfer."""
        return False

    @property
    def calibrated(self) -> bool:
        """Tell whether a temperature is fitted to the scores."""
        return False

    @property
    def input_override(self) -> InputOverride | None:
        """The `input` that it gives the source, where it may give one."""
        given = getattr(self, "input", None)
        return given if isinstance(given, InputOverride) else None

    @property
    def source_size(self) -> tuple[int, int] | None:
        """The (height, width) that it brings the source to; None: as that is."""
        return None if self.input_override is None else self.input_override.size

    def networks(self) -> dict[str, str]:
        """Checkpoints and models that are named within, by the path of the parameter that names them."""
        return {}

    def datasets(self) -> dict[str, str]:
        """Datasets that are named within, likewise."""
        return {}

    def epoch_datasets(self) -> Sequence[str]:
        """Ids of the datasets of whose images an epoch is made, in place of the target's; of several the largest."""
        return ()

    def heads(self) -> dict[str, str | None]:
        """Networks that are asked for classes, by the path of the parameter that names them; None: the job's source."""
        return {"checkpoint": None} if self.asks_source else {}

    def new_network(self) -> NewNetwork | None:
        return None

    def complete(self, trained_on: Callable[[str], Sequence[str]]) -> Self:
        """Fill in what is known of the networks that it names: `trained_on` gives the ids of a network's datasets."""
        return self

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        """Reasons why data, classes and parameters do not fit, beside what holds for all methods (`app.jobs.checks`).

        Parts that are still processing are not judged: they are looked at again when the job starts.
        """
        if self.learns_from_target and facts.target.lacks("train"):
            yield fault("dataset", f"The training split of {facts.target.id} is empty.")

    def check_networks(self, facts: JobFacts) -> Iterator[Detail]:
        """Reasons why the networks that it starts from, or names, will not do."""
        return iter(())

    def starting_from(self, network: NetworkSpec) -> Self:
        """Close the defaults that hang on the kind of the source's network."""
        return self

    def under(self, recipe: Recipe) -> Self:
        """A method that follows the rule of its source's training does so from here on; all others stay as they are."""
        return self

    def train_count(self, dataset: DatasetFacts) -> int | None:
        """Images of a ready dataset that a training loop is to learn from, `train_size` aside; None where there is no
        such loop, or their labels would have to be looked at."""
        return None

    def epoch_images(self, dataset: DatasetFacts) -> int | None:
        """Images that an epoch shows, likewise."""
        return None

    def passes(self, images: int) -> tuple[float, float]:
        """Passes of an image through the network, without gradients and with them, where so many images are learned
        from."""
        return 0.0, float(images)

    def resolve(self, train_count: int, size: tuple[int, int]) -> Self:
        """Close the open defaults for `train_count` training images of `size` (height, width)."""
        return self

    def steps(self, images: int) -> int | None:
        """Optimiser steps in all, where that can be told: of `images` an epoch, with the defaults closed."""
        return None

    def optimizer_bytes(self, weights_bytes: int) -> int | None:
        """State beside the weights, where that can be told."""
        return None
