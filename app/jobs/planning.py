"""From a request to a plan: the parts found, their fit judged, open defaults closed."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.contract import layers
from app.contract.inputs import InputSpec
from app.contract.recipe import Recipe
from app.core import errors
from app.core.errors import Detail
from app.core.status import Readiness, Status, readiness
from app.datasets import service as datasets
from app.db.tables import Dataset
from app.jobs import fit, sources
from app.jobs.sources import Source
from app.methods.base import Method
from app.methods.cross_domain.family import CrossDomain
from app.methods.fusion.distil_ensemble import DistilEnsemble
from app.methods.fusion.family import FromAncestor, Fusing
from app.methods.fusion.reg_mean import RegMean
from app.methods.generalisation.family import Generalisation
from app.methods.source_free.family import SourceFree
from app.methods.start import Start
from app.methods.supervised.train import Train
from app.methods.training import Loop, Training
from app.methods.transfer.rule_transfer import RuleTransfer
from app.methods.utilities.evaluate import Evaluate
from app.methods.utilities.quantize import Quantize
from app.networks import service as networks


@dataclass(frozen=True)
class Request:
    """What a job asks for."""

    checkpoint: str | None
    dataset: str
    source_dataset: str | None
    method: Method
    seed: int


@dataclass(frozen=True)
class Plan:
    """What the request comes to.

    `method` has its open defaults closed where all that they hang on is known by now; else the job closes them
    when it starts.  `teachers` and `environments` are what its parameters name, by id.
    """

    method: Method
    source: Source | None
    target: Dataset
    source_dataset: Dataset | None
    teachers: dict[str, Source]
    environments: dict[str, Dataset]
    faults: list[Detail]

    def require_fit(self) -> None:
        """
        Raises:
            Unfit: with every fault; its `param` and sentence are those of the first.
        """
        if self.faults:
            first = self.faults[0]
            raise errors.Unfit(first["detail"], param=first["param"], errors=self.faults)


def draw(db: Session, owner: str, request: Request) -> Plan:
    """
    Raises:
        Invalid: the method takes no checkpoint, or needs one; no worker can build its network.
        NotFound: the owner has no such checkpoint, model or dataset.
        NotReady: the ingest of one of them has failed.
        UntrainedHead: the method asks a network for classes whose head was drawn at random.
    """
    source = _source(db, owner, request)
    target = _dataset(db, owner, request.dataset, "dataset")
    source_dataset = _source_dataset(db, owner, request.source_dataset, source)
    teachers = _teachers(db, owner, request.method)
    method = _with_training_sets(db, owner, request.method, teachers)
    environments = _environments(db, owner, method)
    if isinstance(request.method, Train | Start) and request.method.input is not None:
        networks.check_scale(request.method.input, "method.input")
    if isinstance(request.method, Train):
        networks.check(db, request.method.network, request.method.input, "method.network")
    if isinstance(request.method, RuleTransfer) and request.method.network is not None:
        networks.check(db, request.method.network, None, "method.network")
    if isinstance(request.method, Start) and request.method.network is not None:
        networks.check(db, request.method.network, request.method.input, "method.network")
    _require_trained_heads(request.method, source, teachers)
    shown = learnt(method, target, source_dataset, environments)
    return Plan(
        method=method if shown is None else _close(db, method, source, shown),
        source=source,
        target=target,
        source_dataset=source_dataset,
        teachers=teachers,
        environments=environments,
        faults=fit.faults(fit.Parts(method, source, target, source_dataset, teachers, environments)),
    )


def _source(db: Session, owner: str, request: Request) -> Source | None:
    name, given, info = request.method.name, request.checkpoint, request.method.info
    if "checkpoint" in info.takes:
        _one_start(request)
    if "checkpoint" not in info.needs and (given is None or "checkpoint" not in info.takes):
        for param, value in (("checkpoint", given), ("source_dataset", request.source_dataset)):
            if value is not None:
                raise errors.Invalid(f"`{name}` starts from nothing: leave `{param}` out.", param=param)
        return None
    if given is None:
        raise errors.Invalid(f"`{name}` needs a checkpoint or a model to start from.", param="checkpoint")
    source = sources.find(db, owner, given, "checkpoint")
    _refuse_failed(source.id, source.readiness, "checkpoint")
    return source


def _one_start(request: Request) -> None:
    network = request.method.network if isinstance(request.method, Start) else None
    if network is None and request.checkpoint is None:
        said = f"`{request.method.name}` starts from a checkpoint or a model, or from a `network` of the method."
        raise errors.Invalid(said, param="checkpoint")
    if network is not None and request.checkpoint is not None:
        said = "A `network` is newly drawn, a checkpoint has its own: leave one of them out."
        raise errors.Invalid(said, param="method.network")


def _teachers(db: Session, owner: str, method: Method) -> dict[str, Source]:
    """Checkpoints and models that the method's parameters name, by id."""
    found = {}
    for param, teacher_id in method.networks().items():
        found[teacher_id] = sources.find(db, owner, teacher_id, f"method.{param}")
        _refuse_failed(teacher_id, found[teacher_id].readiness, f"method.{param}")
    return found


def _with_training_sets(db: Session, owner: str, method: Method, teachers: Mapping[str, Source]) -> Method:
    """What each source of `reg_mean` was trained on, where nobody says it and it is known."""
    if not isinstance(method, RegMean):
        return method
    known = {id_: sources.trained_on(db, owner, teacher) for id_, teacher in teachers.items()}
    closed = {id_: method.training_sets.get(id_) or known[id_] for id_ in method.sources}
    return method.model_copy(update={"training_sets": {id_: found for id_, found in closed.items() if found}})


def _environments(db: Session, owner: str, method: Method) -> dict[str, Dataset]:
    """Datasets that the method's parameters name, by id."""
    named = method.datasets().items()
    return {dataset_id: _dataset(db, owner, dataset_id, f"method.{param}") for param, dataset_id in named}


def _dataset(db: Session, owner: str, dataset_id: str, param: str) -> Dataset:
    dataset, task = datasets.get(db, owner, dataset_id, param=param)
    _refuse_failed(dataset_id, readiness(Status(task.status)), param)
    return dataset


def _source_dataset(db: Session, owner: str, asked: str | None, source: Source | None) -> Dataset | None:
    """The dataset that is asked for, else the one that the source is known to come from, if that has labels: what
    learned from images alone cannot be measured on them, which is no reason to refuse the job."""
    if asked is not None:
        return _dataset(db, owner, asked, "source_dataset")
    if source is None or source.dataset is None:
        return None
    known = datasets.get(db, owner, source.dataset).dataset
    return known if known.labelled else None


def _require_trained_heads(method: Method, source: Source | None, teachers: Mapping[str, Source]) -> None:
    """Whatever asks a network for classes cannot ask one whose head was drawn at random."""
    asked: dict[str, Source | None] = {}
    if isinstance(method, Evaluate | Quantize | SourceFree | FromAncestor):
        asked["checkpoint"] = source
    if isinstance(method, Fusing | DistilEnsemble):
        asked |= {f"method.{param}": teachers[id_] for param, id_ in method.networks().items()}
    if isinstance(method, Training):
        for i, term in enumerate(method.terms):
            teacher: str | None = getattr(term, "teacher", None)
            if term.name == "distillation":
                asked[f"method.terms.{i}.teacher"] = teachers[teacher] if teacher else source
            elif "source_head" in term.info.needs:
                asked[f"method.terms.{i}"] = source
    for param, network in asked.items():
        if network is not None and network.untrained_head:
            raise errors.UntrainedHead(
                f"`{method.name}` asks {network.id} for classes, but its head was drawn at random: adapt it with a "
                "method that learns from labels first.",
                param=param,
            )


def _refuse_failed(object_id: str, state: Readiness, param: str) -> None:
    if state is Readiness.FAILED:
        raise errors.NotReady(f"{object_id} has failed; GET it for the reason.", param=param)


def learnt(
    method: Method, target: Dataset, source_dataset: Dataset | None, environments: Mapping[str, Dataset]
) -> Dataset | None:
    """The dataset by whose number and size of images defaults are closed, of several the largest, of which an epoch is
    one; None while one of them is not ready."""
    named = [target]
    if isinstance(method, Generalisation):
        named = [environments[id_] for id_ in method.environments]
    elif isinstance(method, CrossDomain) and source_dataset is not None:
        named = [target, source_dataset]
    return max(named, key=datasets.train_count) if all(one.splits is not None for one in named) else None


def _close(db: Session, method: Method, source: Source | None, target: Dataset) -> Method:
    """Close the open defaults, if the images and the size at which they will be seen are known."""
    if not isinstance(method, Loop) or target.splits is None:
        return method
    recipe = Recipe.read(source.recipe) if source is not None else None
    if isinstance(method, RuleTransfer) and recipe is not None:
        method = method.under(recipe)
    size, count = _size(db, method, source, target), train_count(method, target)
    return method if size is None or not count else method.resolve(count, size)


def _size(db: Session, method: Loop, source: Source | None, target: Dataset) -> tuple[int, int] | None:
    """(height, width) that the network will see, by the rule that the run follows."""
    if source is not None:
        return _spec_size(source.input)
    if not isinstance(method, Train | Start) or method.network is None:
        return None
    if method.input is not None:
        return method.input.size
    network = networks.find(db, method.network.name, "method.network.name")
    described = layers.declared_input(method.network)
    if described is not None:
        return described[1:]
    return None if network is None else _spec_size(network.input) or _image_size(target)


def _spec_size(document: dict[str, object] | None) -> tuple[int, int] | None:
    return None if document is None else InputSpec.model_validate(document).size


def _image_size(dataset: Dataset) -> tuple[int, int] | None:
    return None if dataset.image is None else (dataset.image["height"], dataset.image["width"])


def train_count(method: Loop, target: Dataset) -> int | None:
    """Images that the run will learn from, `train_size` aside; None where their labels would have to be looked at."""
    if not isinstance(method, Training) or method.labels_per_class is None:
        return datasets.train_count(target)
    if target.multi_label:
        return None
    if target.counts is None:
        return min(datasets.train_count(target), method.labels_per_class * len(target.classes or ()))
    return sum(min(int(count), method.labels_per_class) for count in target.counts["train"])
