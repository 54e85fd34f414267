"""Facts of a job, by which a method says whether it can do what is asked: values made by `app.jobs.planning`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Recipe
from app.core.errors import Detail, Unfit


@dataclass(frozen=True)
class SourceFacts:
    """A checkpoint or a model.  Before it is `ready` its network is not known, nor all of the rest.

    `classes` is None where nobody has named them, or the head was drawn at random.
    """

    id: str
    ready: bool
    network: NetworkSpec | None
    input: InputSpec | None
    classes: Sequence[str] | None
    recipe: Recipe | None
    multi_label: bool

    def shares_classes(self, dataset: "DatasetFacts") -> bool:
        """Tell whether network and dataset have a class of one name, as far as both are known."""
        if self.classes is None or dataset.classes is None:
            return True
        return not set(self.classes).isdisjoint(dataset.classes)

    @property
    def is_model(self) -> bool:
        """Tell whether a job made the network and it is served, unlike a checkpoint."""
        return self.id.startswith("model_")


@dataclass(frozen=True)
class DatasetFacts:
    """A dataset.  Before it is ready it has neither `classes` nor `splits` nor `counts`.

    `splits` has the number of images of each split, `counts` that of each class by split; None where it is not known.
    `size` is the images' (height, width); None where they are mixed.
    """

    id: str
    labelled: bool
    only_tests_labelled: bool
    multi_label: bool
    classes: Sequence[str] | None
    splits: Mapping[str, int] | None
    counts: Mapping[str, Sequence[int]] | None
    size: tuple[int, int] | None

    @property
    def training_labels(self) -> bool:
        return self.labelled and not self.only_tests_labelled

    @property
    def validation_labels(self) -> bool:
        """Tell whether there are validation labels, as far as is known of a dataset that is still processing."""
        if not self.labelled or self.lacks("validation"):
            return False
        return not self.only_tests_labelled or (self.counts is not None and any(self.counts["validation"]))

    @property
    def train_count(self) -> int:
        """Images in the training split; 0 before they are counted."""
        return int((self.splits or {}).get("train", 0))

    @property
    def smallest_class(self) -> tuple[str, int] | None:
        """The class with the fewest training images, and their number."""
        if not self.counts or not self.classes:
            return None
        return min(zip(self.classes, self.counts["train"], strict=True), key=lambda pair: pair[1])

    @property
    def has_none(self) -> str:
        """The end of a sentence that says that it has no labels to learn from."""
        return f"{self.id} has none{' but for tests' if self.only_tests_labelled else ''}"

    def lacks(self, split: str) -> bool:
        """Tell whether a split is known to be empty."""
        return self.splits is not None and not self.splits[split]


@dataclass(frozen=True)
class JobFacts:
    """The parts of a job.  `networks` and `datasets` are those that the method's parameters name, by id."""

    target: DatasetFacts
    source: SourceFacts | None = None
    source_dataset: DatasetFacts | None = None
    networks: Mapping[str, SourceFacts] = field(default_factory=dict)
    datasets: Mapping[str, DatasetFacts] = field(default_factory=dict)

    def network(self, id: str | None) -> SourceFacts | None:
        """The network of that id; without one, the job's source."""
        return self.source if id is None else self.networks[id]


def fault(param: str, detail: str, code: str = Unfit.code) -> Detail:
    return {"param": param, "detail": detail, "code": code}


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first of them, for a sentence."""
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


def wrong_outputs(network: NetworkSpec, target: DatasetFacts) -> Iterator[Detail]:
    """A new network has as many outputs as the target has classes."""
    if target.classes is not None and network.num_classes != len(target.classes):
        yield fault(
            "method.network.num_classes",
            f"The network has {network.num_classes} classes, but {target.id} has {len(target.classes)}.",
        )


def unshared_classes(param: str, teacher: SourceFacts | None, target: DatasetFacts) -> Iterator[Detail]:
    """A teacher has two classes at least to tell apart that the target has, too; they are matched by name."""
    if teacher is None or target.classes is None or not teacher.ready:
        return
    if len(set(teacher.classes or ()) & set(target.classes)) < 2:
        yield fault(
            param,
            f"The teacher {teacher.id} and {target.id} share fewer than two classes by name: "
            f"{some(teacher.classes or ['none that are named'])} there, {some(target.classes)} here.",
        )


def other_kind(param: str, source: SourceFacts | None, dataset: DatasetFacts | None) -> Iterator[Detail]:
    """A network is measured on labels of the kind that it was made for: one an image, or any number."""
    if source is None or dataset is None or not source.ready or dataset.splits is None:
        return
    if source.multi_label != dataset.multi_label:
        yield fault(
            param,
            f"{source.id} gives an image {_kind(source.multi_label)}, {dataset.id} has "
            f"{_kind(dataset.multi_label)}: there is no measure for both.",
        )


def _kind(multi_label: bool) -> str:
    return "any number of labels" if multi_label else "one label"
