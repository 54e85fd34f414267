"""Whether networks can become one: what is told of it when the job is submitted."""

from collections.abc import Iterator, Mapping

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.core.status import Readiness
from app.datasets import service as datasets
from app.db.tables import Dataset
from app.jobs.sources import Source
from app.methods.fusion.distil_ensemble import DistilEnsemble, untold
from app.methods.fusion.family import INSTEAD, Described, FromAncestor, Fusing, mismatch

Fault = tuple[str, str]  # the parameter below `method`, and the sentence


def merging(method: Fusing, checkpoint: Source, sources: Mapping[str, Source], target: Dataset) -> Iterator[Fault]:
    """What is still being processed is not judged yet."""
    counted = isinstance(method, FromAncestor)
    if counted and checkpoint.id in method.sources:
        place = method.sources.index(checkpoint.id)
        yield f"sources.{place}", f"{checkpoint.id} is the checkpoint: nothing was changed from it."
        return
    first = sources[method.sources[0]]
    for place, id_ in enumerate(method.sources):
        pairs = [(first, True), (checkpoint, counted)] if place else [(checkpoint, counted)]
        reasons = (_mismatch(sources[id_], other, classes) for other, classes in pairs)
        reason = next((reason for reason in reasons if reason), None)
        if reason:
            yield f"sources.{place}", f"{reason} {INSTEAD}"
    yield from _shared(method.sources[0], first, target)


def distilling(method: DistilEnsemble, teachers: Mapping[str, Source], target: Dataset) -> Iterator[Fault]:
    """Each teacher's own fit with the target is judged as that of any teacher."""
    ready = [teachers[id_] for id_ in method.teachers if teachers[id_].readiness is Readiness.READY]
    for place, id_ in enumerate(method.teachers):
        if teachers[id_] in ready and not teachers[id_].classes:
            yield f"teachers.{place}", f"Classes are matched by name, and those of {id_} have no names."
            return
    if method.label_weight and not datasets.has_training_labels(target):
        yield "label_weight", f"{target.id} has no training labels."
    if target.classes is None:
        return
    if method.network is not None and method.network.num_classes != len(target.classes):
        counts = f"{method.network.num_classes} classes, but {target.id} has {len(target.classes)}"
        yield "network.num_classes", f"The student's network has {counts}."
    if len(ready) == len(method.teachers) and not method.label_weight:
        reason = untold(target.classes, [teacher.classes or [] for teacher in ready])
        if reason:
            yield "label_weight", f"Without labels the classes of {target.id} cannot all be learnt: {reason}."


def choosing(method: Fusing | DistilEnsemble, target: Dataset) -> Iterator[Fault]:
    if not method.chooses or target.splits is None:
        return
    if not datasets.has_validation_labels(target):
        lacks = "no validation images" if not target.splits["validation"] else "no labels there"
        yield _choice(method), f"The choice is by labels of the validation split, and {target.id} has {lacks}."


def _choice(method: Fusing | DistilEnsemble) -> str:
    """The parameter that says so."""
    names = ("kind", "alpha", "scale", "selection")
    return next(name for name in names if name in type(method).model_fields)


def _mismatch(one: Source, other: Source, classes: bool) -> str | None:
    if not one.readiness is other.readiness is Readiness.READY:
        return None
    return mismatch(_described(one), _described(other), classes=classes)


def _described(source: Source) -> Described:
    return Described(
        source.id,
        NetworkSpec.model_validate(source.network),
        None if source.input is None else InputSpec.model_validate(source.input),
        source.classes,
    )


def _shared(id_: str, source: Source, target: Dataset) -> Iterator[Fault]:
    if source.classes is None or target.classes is None or set(source.classes) & set(target.classes):
        return
    yield "sources.0", f"{id_} and {target.id} share no class name, and merging learns no new one. {INSTEAD}"
