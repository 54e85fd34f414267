"""Parts shared by all methods that calculate one network's weights from those of several."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from app.contract import layers
from app.contract.base import DISTINCT, ObjectId
from app.contract.inputs import InputOverride, InputSpec
from app.contract.networks import NetworkSpec
from app.core.errors import Detail
from app.methods.facts import DatasetFacts, JobFacts, SourceFacts, fault
from app.methods.training import LabelBudget

MOST_SOURCES = 32
MOST_DATASETS = 16  # of one source
INSTEAD = "`distil_ensemble` learns from networks of any architecture and of other classes."


def _once(sources: list[str]) -> list[str]:
    for source in sources:
        if sources.count(source) > 1:
            raise ValueError(f"{source} is named twice")
    return sources


Unique = AfterValidator(_once)
One = Annotated[list[ObjectId], Field(min_length=1, max_length=1)]
Sources = Annotated[list[ObjectId], Field(min_length=1, max_length=MOST_SOURCES), Unique, DISTINCT]
Several = Annotated[list[ObjectId], Field(min_length=2, max_length=MOST_SOURCES), Unique, DISTINCT]
Scale = Annotated[float, Field(ge=-10, le=10)]


class Fusing(LabelBudget):
    """`sources` are checkpoints and models of one network with one set of classes; the job's `checkpoint` is what all
    of them were tuned from.

    `batch_norm`: statistics are taken anew on the target's training images after every merge, or `merged` as the mean
    of the sources'.  A choice reads the target's validation labels within the label budget, and no others.
    """

    compared = True
    counts_from_source: ClassVar[bool] = False
    choice: ClassVar[str | None] = None

    name: str
    sources: Sources
    batch_norm: Literal["reestimated", "merged"] = "reestimated"
    input: InputOverride | None = None

    def networks(self) -> dict[str, str]:
        return {f"sources.{i}": source for i, source in enumerate(self.sources)}

    def heads(self) -> dict[str, str | None]:
        return super().heads() | {f"method.{param}": id_ for param, id_ in self.networks().items()}

    @property
    def chooses(self) -> bool:
        """Tell whether validation labels of the target are read."""
        return False

    def check_networks(self, facts: JobFacts) -> Iterator[Detail]:
        if self.chooses:
            yield from no_choice(f"method.{self.choice}", facts.target)
        if facts.source is None:
            return
        if self.counts_from_source and facts.source.id in self.sources:
            place = self.sources.index(facts.source.id)
            message = f"{facts.source.id} is the checkpoint: nothing was changed from it."
            yield fault(f"method.sources.{place}", message)
            return
        first = facts.networks[self.sources[0]]
        for place, id_ in enumerate(self.sources):
            pairs = [(first, True)] if place else []
            pairs.append((facts.source, self.counts_from_source))
            reasons = (_unlike(facts.networks[id_], other, classes) for other, classes in pairs)
            reason = next((reason for reason in reasons if reason), None)
            if reason:
                yield fault(f"method.sources.{place}", f"{reason} {INSTEAD}")
        target = facts.target
        if not first.shares_classes(target):
            message = f"{first.id} and {target.id} share no class name, and merging learns no new one. {INSTEAD}"
            yield fault("method.sources.0", message)


class FromAncestor(Fusing):
    """Weights are counted from the checkpoint's, so its classes are the sources', too."""

    asks_source = True
    counts_from_source = True


class FromOwnImages(Fusing):
    """Each source is weighed by `images` images, evenly spaced, of the data that it was trained on.

    `training_sets` maps the id of a source, one of `sources`, to the ids of these datasets; left out, they are those of
    the job that made it, or the checkpoint's known dataset.  No label is read.
    """

    sources: Several
    training_sets: dict[ObjectId, Annotated[list[ObjectId], Field(min_length=1, max_length=MOST_DATASETS)]] = {}
    images: Annotated[int, Field(ge=1, le=100_000)] = 1000

    @model_validator(mode="after")
    def _data_of_sources(self) -> Self:
        for source in self.training_sets:
            if source not in self.sources:
                raise ValueError(f"`training_sets` names {source}, which is none of the `sources`")
        return self

    def datasets(self) -> dict[str, str]:
        named = [(source, i, id_) for source, ids in self.training_sets.items() for i, id_ in enumerate(ids)]
        return {f"training_sets.{source}.{i}": id_ for source, i, id_ in named}

    def complete(self, trained_on: Callable[[str], Sequence[str]]) -> Self:
        """The training sets of each source are filled in where nobody says them and they are known."""
        known = {source: self.training_sets.get(source) or list(trained_on(source)) for source in self.sources}
        return self.model_copy(update={"training_sets": {source: ids for source, ids in known.items() if ids}})

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        for source in self.sources:
            if source not in self.training_sets:
                named = f'`"training_sets": {{"{source}": ["ds_…"]}}`'
                message = f"Nobody has said what {source} was trained on: name it, {named}."
                yield fault("method.training_sets", message)
        for param, id_ in self.datasets().items():
            if facts.datasets[id_].lacks("train"):
                yield fault(f"method.{param}", f"The training split of {id_} is empty.")
        yield from super().check(facts)


def no_choice(param: str, target: DatasetFacts) -> Iterator[Detail]:
    """A choice among candidates, which the parameter at `param` asks for, is by the target's validation labels."""
    if target.splits is not None and not target.validation_labels:
        lacks = "no validation images" if target.lacks("validation") else "no labels there"
        yield fault(param, f"The choice is by labels of the validation split, and {target.id} has {lacks}.")


class Described(NamedTuple):
    """A network by what is stored of it, and how a refusal names it."""

    name: str
    network: NetworkSpec
    input: InputSpec | None
    classes: Sequence[str] | None


def mismatch(one: Described, other: Described, *, classes: bool = True) -> str | None:
    """The reason why the weights of two cannot be calculated with each other; with `classes` their heads are, too."""
    return (
        _architecture(one, other)
        or (_classes(one, other) if classes else None)
        or _contract(one, other)
        or _layers(one, other)
    )


def _unlike(one: SourceFacts, other: SourceFacts, classes: bool) -> str | None:
    """The `mismatch` of two sources; None as long as one of them is not known."""
    if one.network is None or other.network is None:
        return None
    return mismatch(
        Described(one.id, one.network, one.input, one.classes),
        Described(other.id, other.network, other.input, other.classes),
        classes=classes,
    )


def same_classes(one: Sequence[str] | None, other: Sequence[str] | None) -> bool:
    """Tell whether two networks have the same classes, in any order, or both no names."""
    return (one is None and other is None) or (one is not None and other is not None and set(one) == set(other))


def _architecture(one: Described, other: Described) -> str | None:
    if one.network.name == other.network.name:
        return None
    return f"{one.name} is a `{one.network.name}`, {other.name} a `{other.network.name}`."


def _classes(one: Described, other: Described) -> str | None:
    counts = [described.network.num_classes for described in (one, other)]
    if counts[0] != counts[1]:
        return f"{one.name} has {counts[0]} classes, {other.name} has {counts[1]}."
    if same_classes(one.classes, other.classes):
        return None
    for this, that in ((one, other), (other, one)):
        if this.classes is None:
            return f"The classes of {this.name} have no names by which those of {that.name} could be found."
        missing = sorted(set(this.classes) - set(that.classes or this.classes))
        if missing:
            return f"{this.name} has the class {missing[0]!r}, which {that.name} has not."
    raise AssertionError("the classes are the same")


def _layers(one: Described, other: Described) -> str | None:
    """Networks of the same classes are compared as they are built: what `layers` leaves open is filled in."""
    if _options(one, one.network.num_classes) == _options(other, one.network.num_classes):
        return None
    return f"{one.name} and {other.name} are of the same kind, `{one.network.name}`, but built with other options."


def _options(described: Described, num_classes: int) -> Any:
    spec = layers.with_classes(described.network, num_classes)
    if spec.name != layers.NAME:
        return spec.options
    return layers.resolve(layers.for_input(spec, described.input), described.input).layers if described.input else None


def _contract(one: Described, other: Described) -> str | None:
    """`fit` and `margin` say how images come to a network, not what its weights are for."""
    if one.input is None or other.input is None:
        return None
    for field in ("size", "channels", "mean", "std"):
        values = [getattr(described.input, field) for described in (one, other)]
        if values[0] != values[1]:
            return f"{one.name} takes images with `{field}` {_said(values[0])}, {other.name} with {_said(values[1])}."
    return None


def _said(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
