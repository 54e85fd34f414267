"""Checks that checkpoint, dataset and method fit together: everything that can be said without torch.

What holds for every job is here, what is particular to a method with the method (`Method.check`).  Each check is a pure
function of what is stored; what is still being processed is not judged yet (it is looked at again when the job starts).
"""

from collections.abc import Iterator, Sequence

from app.core.errors import Detail
from app.methods.base import Method
from app.methods.facts import DatasetFacts, JobFacts, fault, other_kind, some
from app.methods.registry import METHODS


def faults(method: Method, facts: JobFacts) -> list[Detail]:
    """Every reason why the parts do not fit; empty when they do."""
    return [
        *_labels(method, facts),
        *_source_labels(facts),
        *_source_data(method, facts),
        *_known_classes(method, facts),
        *_input(method, facts),
        *method.check(facts),
        *_multi_label(method, facts),
        *other_kind("source_dataset", facts.source, facts.source_dataset),
        *method.check_networks(facts),
    ]


def _labels(method: Method, facts: JobFacts) -> Iterator[Detail]:
    target = facts.target
    enough = target.training_labels if method.learns_from_target else target.labelled
    if "target_labels" in method.info.needs and not enough:
        yield fault("dataset", f"`{method.name}` learns from labels, but {target.has_none}.")


def _source_labels(facts: JobFacts) -> Iterator[Detail]:
    source = facts.source_dataset
    if source is not None and not source.labelled:
        yield fault("source_dataset", f"The source is measured on its labels, but {source.id} has none.")


def _source_data(method: Method, facts: JobFacts) -> Iterator[Detail]:
    source = facts.source_dataset
    if "source_data" not in method.info.needs:
        return
    if source is None:
        message = f"`{method.name}` learns from the source's labelled images: name their dataset."
        yield fault("source_dataset", message)
    elif source.only_tests_labelled:
        yield fault("source_dataset", f"`{method.name}` learns from labels, but {source.has_none}.")


def _known_classes(method: Method, facts: JobFacts) -> Iterator[Detail]:
    """Closed-set adaptation: the target's classes are all, or some, of those that the source knows, or that its
    images show; what else is there would be taken for one of these."""
    source, images, target = facts.source, facts.source_dataset, facts.target
    if method.label_space == "source" and source is not None and (unknown := _unknown(target, source.classes)):
        trouble = f"has classes that {source.id} does not know: {some(unknown)}"
        yield fault("dataset", f"{target.id} {trouble}. Leave them out, or adapt by a method that reads labels.")
    if method.label_space == "source_dataset" and images is not None and (unknown := _unknown(target, images.classes)):
        trouble = f"has classes of which {images.id} has no images: {some(unknown)}"
        yield fault("dataset", f"{target.id} {trouble}. Leave them out, or give their images in the source's dataset.")


def _input(method: Method, facts: JobFacts) -> Iterator[Detail]:
    """A margin leaves room for the image."""
    override, source = method.input_override, facts.source
    if override is None or source is None or source.input is None:
        return
    size, margin = override.size or source.input.size, override.margin
    if 2 * (source.input.margin if margin is None else margin) >= min(size):
        yield fault("method.input", f"The margin leaves nothing of {size[0]}×{size[1]} pixels for the image.")


def _unknown(target: DatasetFacts, known: Sequence[str] | None) -> list[str]:
    """The target's classes that are not among those that are known."""
    return [] if known is None else [name for name in target.classes or () if name not in known]


def _multi_label(method: Method, facts: JobFacts) -> Iterator[Detail]:
    """A method that learns one label an image learns from such datasets alone, and goes on from such a network."""
    if method.info.multi_label:
        return
    learnt = {"dataset": facts.target}
    learnt |= {f"method.{param}": facts.datasets[id_] for param, id_ in method.datasets().items()}
    if "source_data" in method.info.needs and facts.source_dataset is not None:
        learnt["source_dataset"] = facts.source_dataset
    able = ", ".join(f"`{name}`" for name, other in METHODS.items() if other.info.multi_label)
    for param, dataset in learnt.items():
        if dataset.multi_label:
            yield fault(
                param,
                f"`{method.name}` learns one label an image, but images of {dataset.id} have any number: "
                f"take one of {able}.",
            )
    if method.label_space is not None and facts.source is not None and facts.source.multi_label:
        trouble = f"takes classes to exclude each other, but {facts.source.id} gives an image any number."
        yield fault("checkpoint", f"`{method.name}` {trouble}")
