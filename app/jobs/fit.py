"""Whether checkpoint, dataset and method fit together: everything that can be said without torch.

Each check is a pure function of what is stored; what is still being processed is not judged yet (it is looked at
again when the job starts).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.contract.recipe import Recipe
from app.core.errors import Detail, NoRecipe, Unfit
from app.core.status import Readiness
from app.datasets import service as datasets
from app.db.tables import Dataset
from app.jobs import fusing
from app.jobs.sources import Source
from app.methods.base import Method
from app.methods.cross_domain.family import CrossDomain, Selecting
from app.methods.fusion.distil_ensemble import DistilEnsemble
from app.methods.fusion.family import Fusing
from app.methods.fusion.reg_mean import RegMean
from app.methods.generalisation.family import Generalisation
from app.methods.registry import METHODS
from app.methods.source_free.family import SourceFree
from app.methods.supervised.train import Train
from app.methods.training import Guardable, LabelBudget, Training
from app.methods.transfer.rule_transfer import RuleTransfer
from app.methods.utilities.evaluate import Evaluate
from app.methods.utilities.quantize import Quantize


@dataclass(frozen=True)
class Parts:
    """What a job brings together.  A dataset that is not ready yet has no classes and no counts."""

    method: Method
    source: Source | None
    target: Dataset
    source_dataset: Dataset | None
    teachers: Mapping[str, Source] = field(default_factory=dict)
    environments: Mapping[str, Dataset] = field(default_factory=dict)


def faults(parts: Parts) -> list[Detail]:
    """Every reason why the parts do not fit; empty when they do."""
    checks = (
        _labels,
        _source_labels,
        _source_data,
        _environments,
        _training_sets,
        _environment_classes,
        _environment_splits,
        _classes,
        _shared_classes,
        _known_classes,
        _selection,
        _label_budget,
        _training_split,
        _test_split,
        _terms,
        _rule,
        _guard,
        _calibrate,
        _multi_label,
        _kinds,
        _quantized,
        _softmax_terms,
        _fusion,
    )
    return [fault for check in checks for fault in check(parts)]


def _labels(parts: Parts) -> Iterator[Detail]:
    measures = isinstance(parts.method, Evaluate)  # for which labels of the test split are enough
    enough = parts.target.labelled if measures else datasets.has_training_labels(parts.target)
    if "target_labels" in parts.method.info.needs and not enough:
        where = f"{parts.target.id} has none{_but_tests(parts.target)}"
        yield _fault("dataset", f"`{parts.method.name}` learns from labels, but {where}.")


def _source_labels(parts: Parts) -> Iterator[Detail]:
    if parts.source_dataset is not None and not parts.source_dataset.labelled:
        yield _fault("source_dataset", f"The source is measured on its labels, but {parts.source_dataset.id} has none.")


def _source_data(parts: Parts) -> Iterator[Detail]:
    source = parts.source_dataset
    needed = "source_data" in parts.method.info.needs
    if needed and source is not None and source.only_tests_labelled:
        yield _fault(
            "source_dataset", f"`{parts.method.name}` learns from labels, but {source.id} has none{_but_tests(source)}."
        )
    if needed and source is None:
        yield _fault(
            "source_dataset", f"`{parts.method.name}` learns from the source's labelled images: name their dataset."
        )


def _environments(parts: Parts) -> Iterator[Detail]:
    if not isinstance(parts.method, Generalisation):
        return
    for param, dataset_id in parts.method.datasets().items():
        dataset = parts.environments[dataset_id]
        if not datasets.has_training_labels(dataset):
            where = f"{dataset_id} has none{_but_tests(dataset)}"
            yield _fault(f"method.{param}", f"`{parts.method.name}` learns from labels, but {where}.")


def _but_tests(dataset: Dataset) -> str:
    return " but for tests" if dataset.only_tests_labelled else ""


def _training_sets(parts: Parts) -> Iterator[Detail]:
    method = parts.method
    if not isinstance(method, RegMean):
        return
    for source in method.sources:
        if source not in method.training_sets:
            said = (
                f'Nobody has said what {source} was trained on: name it, `"training_sets": {{"{source}": ["ds_…"]}}`.'
            )
            yield _fault("method.training_sets", said)
    for param, dataset_id in method.datasets().items():
        splits = parts.environments[dataset_id].splits
        if splits is not None and not splits["train"]:
            yield _fault(f"method.{param}", f"The training split of {dataset_id} is empty.")


def _environment_classes(parts: Parts) -> Iterator[Detail]:
    if not isinstance(parts.method, Generalisation):
        return
    named = [parts.environments[id_].classes for id_ in parts.method.environments]
    known = [set(classes) for classes in named if classes]
    if len(known) < len(named):  # still being processed, or without labels, which is said elsewhere
        return
    common = set.intersection(*known)
    if len(common) < 2:
        yield _fault("method.environments", "The environments share fewer than two classes by name.")
    elif parts.target.classes and not common & set(parts.target.classes):
        yield _fault(
            "dataset",
            f"{parts.target.id} has no class that all environments have: {_some(parts.target.classes)} here, "
            f"{_some(sorted(common))} there.",
        )


def _environment_splits(parts: Parts) -> Iterator[Detail]:
    method = parts.method
    if not isinstance(method, Generalisation):
        return
    for param, dataset_id in method.datasets().items():
        split = "validation" if param == "validation" else "train"
        splits = parts.environments[dataset_id].splits
        if splits is not None and not splits[split]:
            yield _fault(f"method.{param}", f"The {split} split of {dataset_id} is empty.")


def _classes(parts: Parts) -> Iterator[Detail]:
    method, classes = parts.method, parts.target.classes
    network = method.network if isinstance(method, Train | RuleTransfer) else None
    if network is not None and classes is not None and network.num_classes != len(classes):
        yield _fault(
            "method.network.num_classes",
            f"The network has {network.num_classes} classes, but {parts.target.id} has {len(classes)}.",
        )


def _shared_classes(parts: Parts) -> Iterator[Detail]:
    source, classes = parts.source, parts.target.classes
    if not isinstance(parts.method, Evaluate) or source is None or source.classes is None or classes is None:
        return
    if not set(source.classes) & set(classes):
        yield _fault(
            "dataset",
            f"{source.id} and {parts.target.id} share no class name: {_some(source.classes)} there, "
            f"{_some(classes)} here. Adapt the checkpoint with another method.",
        )


def _known_classes(parts: Parts) -> Iterator[Detail]:
    """The target's classes are all, or some, of those that the source knows, or that its images show; what else is
    there would be taken for one of these."""
    of: Source | Dataset | None
    if isinstance(parts.method, SourceFree):
        of, advice = parts.source, "Leave them out, or adapt by a method that reads labels."
    elif isinstance(parts.method, CrossDomain):
        of, advice = parts.source_dataset, "Leave them out, or give their images in the source's dataset."
    else:
        return
    classes = parts.target.classes
    if of is None or of.classes is None or not classes:
        return
    if unknown := [name for name in classes if name not in of.classes]:
        lacks = "that {} does not know" if of is parts.source else "of which {} has no images"
        detail = f"{parts.target.id} has classes {lacks.format(of.id)}: {_some(unknown)}. {advice}"
        yield _fault("dataset", detail)


def _selection(parts: Parts) -> Iterator[Detail]:
    method = parts.method
    if not isinstance(method, Selecting) or method.selection not in ("target_validation", "source_validation"):
        return
    asked = parts.target if method.selection == "target_validation" else parts.source_dataset
    if asked is None or not datasets.has_validation_labels(asked):
        yield _fault("method.selection", f"There are no validation labels to select by: `{method.selection}`.")


def _label_budget(parts: Parts) -> Iterator[Detail]:
    method, target = parts.method, parts.target
    if not isinstance(method, LabelBudget) or target.splits is None:
        return
    count = target.splits["train"]
    if method.train_size is not None and method.train_size > count:
        yield _fault(
            "method.train_size",
            f"{method.train_size} images are asked for; the training split of {target.id} has {count}.",
        )
    smallest = _smallest_class(target)
    if method.labels_per_class is not None and smallest is not None and method.labels_per_class > smallest[1]:
        name, count = smallest
        yield _fault(
            "method.labels_per_class",
            f"{method.labels_per_class} images of each class are asked for; "
            f"the training split of {target.id} has {count} of class {name!r}.",
        )


def _training_split(parts: Parts) -> Iterator[Detail]:
    learns = not isinstance(parts.method, Evaluate | Generalisation)
    if learns and parts.target.splits is not None and not parts.target.splits["train"]:
        yield _fault("dataset", f"The training split of {parts.target.id} is empty.")


def _test_split(parts: Parts) -> Iterator[Detail]:
    if isinstance(parts.method, Evaluate) and parts.target.splits is not None and not parts.target.splits["test"]:
        yield _fault("dataset", f"The test split of {parts.target.id} is empty.")


def _terms(parts: Parts) -> Iterator[Detail]:
    if not isinstance(parts.method, Training):
        return
    for i, term in enumerate(parts.method.terms):
        param, needs = f"method.terms.{i}", term.info.needs
        teacher_id: str | None = getattr(term, "teacher", None)
        if "source" in needs and parts.source is None:
            yield _fault(param, f"`{term.name}` stays near a source, but `{parts.method.name}` starts from nothing.")
        if "teacher" in needs and teacher_id is None and parts.source is None:
            yield _fault(f"{param}.teacher", f"`{term.name}` needs a teacher: name a checkpoint or a model.")
        if term.name == "distillation":
            teacher = parts.teachers[teacher_id] if teacher_id else parts.source
            yield from _distillation(f"{param}.teacher", teacher, parts.target)


def _distillation(param: str, teacher: Source | None, target: Dataset) -> Iterator[Detail]:
    if teacher is None or target.classes is None or not _known(teacher):
        return
    if len(set(teacher.classes or ()) & set(target.classes)) < 2:
        yield _fault(
            param,
            f"The teacher {teacher.id} and {target.id} share fewer than two classes by name: "
            f"{_some(teacher.classes or ['none that are named'])} there, {_some(target.classes)} here.",
        )


def _rule(parts: Parts) -> Iterator[Detail]:
    method, source = parts.method, parts.source
    if not isinstance(method, RuleTransfer) or source is None or source.readiness is not Readiness.READY:
        return
    recipe = Recipe.read(source.recipe)
    if recipe is None:
        yield _fault(
            "checkpoint",
            f"{source.id} has no recipe to follow: give one as `recipe` where the checkpoint is made, or start from a "
            "model that a job made.",
            NoRecipe.code,
        )
    elif "input" not in method.rule and not any(getattr(recipe, part) for part in method.rule):
        yield _fault("method.rule", f"The recipe of {source.id} has no {' and no '.join(method.rule)} to replay.")


def _guard(parts: Parts) -> Iterator[Detail]:
    method, target = parts.method, parts.target
    if not isinstance(method, Guardable) or not method.guard:
        return
    if parts.source is None:
        yield _fault("method.guard", f"`{method.name}` transfers nothing that could be compared with its absence.")
    if target.splits is not None and not target.splits["test"]:
        yield _fault("method.guard", f"The test split of {target.id} is empty: nothing can be compared on it.")


def _calibrate(parts: Parts) -> Iterator[Detail]:
    method, target = parts.method, parts.target
    calibrates = isinstance(method, Training) and method.calibrate
    if calibrates and target.splits is not None and not target.splits["validation"]:
        detail = f"A temperature is fitted on the validation split, and that of {target.id} is empty."
        yield _fault("method.calibrate", detail)


def _multi_label(parts: Parts) -> Iterator[Detail]:
    """A method that learns one label an image learns from such datasets alone, and goes on from such a network."""
    if parts.method.info.multi_label:
        return
    learnt = {"dataset": parts.target} | {
        f"method.{param}": parts.environments[id_] for param, id_ in parts.method.datasets().items()
    }
    if isinstance(parts.method, CrossDomain) and parts.source_dataset is not None:
        learnt["source_dataset"] = parts.source_dataset
    able = ", ".join(f"`{name}`" for name, method in METHODS.items() if method.info.multi_label)
    for param, dataset in learnt.items():
        if dataset.multi_label:
            yield _fault(
                param,
                f"`{parts.method.name}` learns one label an image, but images of {dataset.id} have any number: "
                f"take one of {able}.",
            )
    if isinstance(parts.method, CrossDomain | SourceFree) and parts.source is not None and parts.source.multi_label:
        said = f"takes classes to exclude each other, but {parts.source.id} gives an image any number."
        yield _fault("checkpoint", f"`{parts.method.name}` {said}")


def _quantized(parts: Parts) -> Iterator[Detail]:
    if isinstance(parts.method, Quantize) and parts.source is not None and not parts.source.id.startswith("model_"):
        yield _fault("checkpoint", f"What is quantised is a model, and {parts.source.id} is a checkpoint.")


def _kinds(parts: Parts) -> Iterator[Detail]:
    """A network is measured on labels of the kind that it was made for."""
    source, compared = parts.source, {"source_dataset": parts.source_dataset}
    if isinstance(parts.method, Evaluate):
        compared["dataset"] = parts.target
    for param, dataset in compared.items():
        if source is None or dataset is None or not _known(source) or dataset.splits is None:
            continue
        if source.multi_label != bool(dataset.multi_label):
            yield _fault(
                param,
                f"{source.id} gives an image {_kind(source.multi_label)}, {dataset.id} has "
                f"{_kind(bool(dataset.multi_label))}: there is no measure for both.",
            )


def _softmax_terms(parts: Parts) -> Iterator[Detail]:
    if not isinstance(parts.method, Training):
        return
    for i, term in enumerate(parts.method.terms):
        if not term.info.softmax:
            continue
        teacher_id: str | None = getattr(term, "teacher", None)
        teacher = parts.teachers[teacher_id] if teacher_id else parts.source
        several = [one.id for one in (parts.target, teacher) if one is not None and one.multi_label]
        if several:
            yield _fault(
                f"method.terms.{i}",
                f"`{term.name}` takes classes to exclude each other, but with {several[0]} an image has any number "
                "of them.",
            )


def _known(source: Source) -> bool:
    return source.readiness is Readiness.READY


def _kind(multi_label: bool) -> str:
    return "any number of labels" if multi_label else "one label"


def _fusion(parts: Parts) -> Iterator[Detail]:
    method, teachers, target = parts.method, parts.teachers, parts.target
    if not isinstance(method, Fusing | DistilEnsemble):
        return
    found = list(fusing.choosing(method, target))
    if isinstance(method, DistilEnsemble):
        found += fusing.distilling(method, teachers, target)
    elif parts.source is not None:
        found += fusing.merging(method, parts.source, teachers, target)
    for param, detail in found:
        yield _fault(f"method.{param}", detail)
    if isinstance(method, DistilEnsemble):
        for param, teacher_id in method.networks().items():
            yield from _distillation(f"method.{param}", teachers[teacher_id], target)


def _smallest_class(dataset: Dataset) -> tuple[str, int] | None:
    """The class with the fewest training images, and their number."""
    if not dataset.counts or not dataset.classes:
        return None
    return min(zip(dataset.classes, dataset.counts["train"], strict=True), key=lambda pair: pair[1])


def _fault(param: str, detail: str, code: str = Unfit.code) -> Detail:
    return {"param": param, "detail": detail, "code": code}


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
