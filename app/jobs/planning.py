"""Planning of jobs, from a request to a plan: the parts found, their fit judged, open defaults closed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.contract import layers
from app.contract.inputs import InputSpec, own_size
from app.contract.networks import NetworkSpec
from app.contract.recipe import Recipe
from app.contract.timm_options import declared_size
from app.core import errors
from app.core.errors import Detail
from app.core.status import Readiness, Status, readiness
from app.datasets import service as datasets
from app.db.tables import DatasetRow
from app.jobs import checks, sources
from app.jobs.sources import Source
from app.methods.base import Method
from app.methods.facts import DatasetFacts, JobFacts, SourceFacts
from app.networks import service as networks


@dataclass(frozen=True)
class Request:
    """A request is what a job asks for."""

    checkpoint: str | None
    dataset: str
    source_dataset: str | None
    method: Method
    seed: int


@dataclass(frozen=True)
class Plan:
    """A plan is what a request comes to.

    `method` has its open defaults closed where all that they hang on is known by now; else the job closes them
    when it starts.  `teachers` and `environments` are what its parameters name, by id.  `size` is the (height, width)
    that the network will see, where that is known by now.
    """

    method: Method
    source: Source | None
    target: DatasetRow
    source_dataset: DatasetRow | None
    teachers: dict[str, Source]
    environments: dict[str, DatasetRow]
    facts: JobFacts
    faults: list[Detail]
    size: tuple[int, int] | None

    def require_fit(self) -> None:
        """
        Raises:
            Unfit: with every fault; its `param` and sentence are those of the first.
        """
        if self.faults:
            first = self.faults[0]
            raise errors.Unfit(first["detail"], param=first["param"], errors=self.faults)


def resolve(db: Session, owner: str, request: Request) -> Plan:
    """
    Raises:
        Invalid: the method takes no checkpoint, or needs one; no worker can build its network.
        NotFound: the owner has no such checkpoint, model or dataset.
        NotReady: the ingest of one of them has failed.
        UntrainedHead: the method asks a network for classes whose head was drawn at random.
    """
    if request.method.delegates:
        message = "What `auto` would come to cannot be told beforehand: the entries of a recommendation have a `cost`."
        raise errors.Invalid(message, param="method")
    source = _source(db, owner, request)
    target = find_dataset(db, owner, request.dataset, "dataset")
    source_dataset = find_source_dataset(db, owner, request.source_dataset, source)
    teachers = _teachers(db, owner, request.method)

    def trained_on(id_: str) -> Sequence[str]:
        return sources.trained_on(db, owner, teachers[id_])

    method = request.method.complete(trained_on)
    environments = _environments(db, owner, method)
    _check_network(db, method)
    _require_trained_heads(method, source, teachers)
    return _plan(db, method, source, target, source_dataset, teachers, environments)


def fit(
    db: Session, method: Method, source: Source | None, target: DatasetRow, source_dataset: DatasetRow | None
) -> Plan:
    """The plan of parts that were looked up before, for a method that names no others.

    Raises:
        Invalid: no worker can build the method's network.
        UntrainedHead: the method asks the source for classes, and its head was drawn at random.
    """
    _check_network(db, method)
    _require_trained_heads(method, source, {})
    return _plan(db, method, source, target, source_dataset, {}, {})


def _plan(
    db: Session,
    method: Method,
    source: Source | None,
    target: DatasetRow,
    source_dataset: DatasetRow | None,
    teachers: dict[str, Source],
    environments: dict[str, DatasetRow],
) -> Plan:
    facts = facts_of(source, target, source_dataset, teachers, environments)
    shown = learnt(method, facts)
    size = None if shown is None else _size(db, method, facts, shown)
    return Plan(
        method=_close(method, facts, shown, size),
        source=source,
        target=target,
        source_dataset=source_dataset,
        teachers=teachers,
        environments=environments,
        facts=facts,
        faults=checks.faults(method, facts),
        size=size,
    )


def _source(db: Session, owner: str, request: Request) -> Source | None:
    name, checkpoint, info = request.method.name, request.checkpoint, request.method.info
    if "checkpoint" in info.takes:
        _one_start(request)
    if "checkpoint" not in info.needs and (checkpoint is None or "checkpoint" not in info.takes):
        for param, value in (("checkpoint", checkpoint), ("source_dataset", request.source_dataset)):
            if value is not None:
                raise errors.Invalid(f"`{name}` starts from nothing: leave `{param}` out.", param=param)
        return None
    if checkpoint is None:
        raise errors.Invalid(f"`{name}` needs a checkpoint or a model to start from.", param="checkpoint")
    return find_source(db, owner, checkpoint, "checkpoint")


def find_source(db: Session, owner: str, source_id: str, param: str) -> Source:
    """
    Raises:
        NotFound: the owner has no such checkpoint or model.
        NotReady: its ingest has failed.
    """
    source = sources.find(db, owner, source_id, param)
    _refuse_failed(source.id, source.readiness, param)
    return source


def _one_start(request: Request) -> None:
    network = request.method.new_network()
    if network is None and request.checkpoint is None:
        message = f"`{request.method.name}` starts from a checkpoint or a model, or from a `network` of the method."
        raise errors.Invalid(message, param="checkpoint")
    if network is not None and request.checkpoint is not None:
        message = "A `network` is newly drawn, a checkpoint has its own: leave one of them out."
        raise errors.Invalid(message, param="method.network")


def _teachers(db: Session, owner: str, method: Method) -> dict[str, Source]:
    """Checkpoints and models that the method's parameters name, by id."""
    teachers = {}
    for param, teacher_id in method.networks().items():
        teachers[teacher_id] = find_source(db, owner, teacher_id, f"method.{param}")
    return teachers


def _environments(db: Session, owner: str, method: Method) -> dict[str, DatasetRow]:
    """Datasets that the method's parameters name, by id."""
    named = method.datasets().items()
    return {dataset_id: find_dataset(db, owner, dataset_id, f"method.{param}") for param, dataset_id in named}


def find_dataset(db: Session, owner: str, dataset_id: str, param: str) -> DatasetRow:
    """
    Raises:
        NotFound: the owner has no such dataset.
        NotReady: its ingest has failed.
    """
    dataset, task = datasets.get(db, owner, dataset_id, param=param)
    _refuse_failed(dataset_id, readiness(Status(task.status)), param)
    return dataset


def find_source_dataset(db: Session, owner: str, reference: str | None, source: Source | None) -> DatasetRow | None:
    """The dataset that is asked for, else the one that the source is known to come from, if that has labels: what
    learned from images alone cannot be measured on them, which is no reason to refuse the job."""
    if reference is not None:
        return find_dataset(db, owner, reference, "source_dataset")
    if source is None or source.dataset is None:
        return None
    known = datasets.get(db, owner, source.dataset).dataset
    return known if known.labelled else None


def _check_network(db: Session, method: Method) -> None:
    """Refuse at once a new network that no worker could build."""
    new = method.new_network()
    if new is not None:
        if new.input is not None:
            networks.check_scale(new.input, "method.input")
        networks.check(db, new.spec, new.input, "method.network")


def _require_trained_heads(method: Method, source: Source | None, teachers: Mapping[str, Source]) -> None:
    """A method that asks a network for classes cannot ask one whose head was drawn at random."""
    for param, id_ in method.heads().items():
        network = source if id_ is None else teachers[id_]
        if network is not None and network.untrained_head:
            raise errors.UntrainedHead(
                f"`{method.name}` asks {network.id} for classes, but its head was drawn at random: adapt it with a "
                "method that learns from labels first.",
                param=param,
            )


def _refuse_failed(object_id: str, state: Readiness, param: str) -> None:
    if state is Readiness.FAILED:
        raise errors.NotReady(f"{object_id} has failed; GET it for the reason.", param=param)


def facts_of(
    source: Source | None,
    target: DatasetRow,
    source_dataset: DatasetRow | None = None,
    teachers: Mapping[str, Source] | None = None,
    environments: Mapping[str, DatasetRow] | None = None,
) -> JobFacts:
    """Facts for the checks, by what is stored of the parts of a job."""
    return JobFacts(
        target=_dataset_facts(target),
        source=None if source is None else _source_facts(source),
        source_dataset=None if source_dataset is None else _dataset_facts(source_dataset),
        networks={id_: _source_facts(teacher) for id_, teacher in (teachers or {}).items()},
        datasets={id_: _dataset_facts(dataset) for id_, dataset in (environments or {}).items()},
    )


def _source_facts(source: Source) -> SourceFacts:
    ready = source.readiness is Readiness.READY
    return SourceFacts(
        id=source.id,
        ready=ready,
        network=NetworkSpec.model_validate(source.network) if ready else None,
        input=None if source.input is None else InputSpec.model_validate(source.input),
        classes=source.classes,
        recipe=Recipe.read(source.recipe),
        multi_label=source.multi_label,
    )


def _dataset_facts(dataset: DatasetRow) -> DatasetFacts:
    return DatasetFacts(
        id=dataset.id,
        labelled=dataset.labelled,
        only_tests_labelled=bool(dataset.only_tests_labelled),
        multi_label=bool(dataset.multi_label),
        classes=dataset.classes,
        splits=dataset.splits,
        counts=dataset.counts,
        size=None if dataset.image is None else (dataset.image["height"], dataset.image["width"]),
    )


def learnt(method: Method, facts: JobFacts) -> DatasetFacts | None:
    """The dataset by whose number and size of images defaults are closed, of several the largest, of which an epoch is
    one; None while one of them is not ready."""
    named = [facts.datasets[id_] for id_ in method.epoch_datasets()] or [facts.target]
    if "source_data" in method.info.needs and facts.source_dataset is not None:
        named.append(facts.source_dataset)
    ready = all(dataset.splits is not None for dataset in named)
    return max(named, key=lambda dataset: dataset.train_count) if ready else None


def waits_for(plan: Plan) -> list[str]:
    """Ids of the parts that are still being processed."""
    networks = (plan.source, *plan.teachers.values())
    waiting = [one.id for one in networks if one is not None and one.readiness is Readiness.PROCESSING]
    datasets = (plan.target, plan.source_dataset, *plan.environments.values())
    return waiting + [dataset.id for dataset in datasets if dataset is not None and dataset.splits is None]


def _close(method: Method, facts: JobFacts, shown: DatasetFacts | None, size: tuple[int, int] | None) -> Method:
    """Close the open defaults, if the images and the size at which they will be seen are known."""
    if shown is None:
        return method
    if facts.source is not None and facts.source.recipe is not None:
        method = method.under(facts.source.recipe)
    if facts.source is not None and facts.source.network is not None:
        method = method.starting_from(facts.source.network)
    count = method.train_count(shown)
    return method if size is None or not count else method.resolve(count, size)


def _size(db: Session, method: Method, facts: JobFacts, shown: DatasetFacts) -> tuple[int, int] | None:
    """(height, width) that the network will see, by the rule that the run follows."""
    if facts.source is not None:
        return None if facts.source.input is None else (method.source_size or facts.source.input.size)
    new = method.new_network()
    if new is None:
        return None
    if new.input is not None:
        return new.input.size
    network = networks.find(db, new.spec.name, "method.network.name")
    described = layers.declared_input(new.spec)
    if described is not None:
        return described[1:]
    if new.spec.of_library:
        return declared_size(new.spec) or (None if shown.size is None else own_size(*shown.size))
    if network is None:
        return None
    return shown.size if network.input is None else InputSpec.model_validate(network.input).size
