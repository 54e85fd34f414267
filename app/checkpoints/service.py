"""The rules of checkpoints: source models, uploaded, downloaded from a library, or promoted from a result."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.checkpoints import labelled, repository
from app.checkpoints.repository import StoredCheckpoint
from app.contract import record
from app.contract.blobs import Artifact, Input, Written
from app.contract.results import CheckpointResult
from app.contract.specs import CheckpointIngest, Prepared
from app.core import errors, ids
from app.core.status import Readiness, Status, readiness, statuses
from app.db.paging import Page
from app.db.session import now
from app.db.tables import CheckpointRow, Task, Warned
from app.files import service as files
from app.models import service as models
from app.networks import service as networks
from app.queue import service as queue

KIND = "ingest_checkpoint"
UNKNOWN: dict[str, object] = {
    "name": None,
    "num_classes": None,
    "options": {},
}  # the file has yet to name it


def create(
    db: Session,
    owner: str,
    *,
    name: str,
    file: str,
    ingest: CheckpointIngest,
    metadata: dict[str, str],
    dataset: str | None = None,
) -> StoredCheckpoint:
    """Create a checkpoint that a worker is to make of the weights in `file` as `ingest` says.

    Without a `network` the file names it, or the worker recognises it; the labelled images of `dataset` decide between
    networks that the file fits alike.

    Raises:
        NotFound: the owner has no such file, or no such dataset.
        Invalid: no worker can build such a network, or `classes` are not as many as its outputs; or there is nothing
            for `dataset` to decide.
        NotReady, Unfit: the dataset cannot decide, see `labelled.require`.
    """
    files.get(db, owner, file, param="file")
    network, input, classes = ingest.network, ingest.input, ingest.classes
    if dataset is not None:
        _require_a_question(ingest)
        labelled.require(db, owner, dataset)
    if network is not None:
        networks.check(db, network, input, "network")
    if input is not None:
        networks.check_scale(input, "input")
    if network is not None and classes is not None and len(classes) != network.num_classes:
        raise errors.Invalid(
            f"The network has {network.num_classes} classes, but {len(classes)} names are given.", param="classes"
        )
    checkpoint = CheckpointRow(
        file=file,
        network=UNKNOWN if network is None else network.document(),
        input=record.stored(input),
        classes=classes,
        multi_label=ingest.multi_label,
        recipe=record.stored(ingest.recipe),
        options={
            "weights": ingest.weights,
            "mapping": ingest.mapping,
            "allow_missing": ingest.allow_missing,
            **({} if dataset is None else {"dataset": dataset}),
        },
        **_common(owner, name, metadata),
    )
    return _ingest(db, checkpoint, needs=[file] if dataset is None else [file, dataset])


def create_pretrained(
    db: Session, owner: str, *, name: str, pretrained: str, metadata: dict[str, str]
) -> StoredCheckpoint:
    """A checkpoint that a worker is to fetch from torchvision or timm.

    Raises:
        Invalid: no worker can build such a network, or it has no such weights.
    """
    networks.check_pretrained(db, pretrained)
    checkpoint = CheckpointRow(
        pretrained=pretrained,
        network={"name": pretrained.partition(":")[0], "num_classes": None, "options": {}},
        **_common(owner, name, metadata),
    )
    return _ingest(db, checkpoint, needs=[])


def promote(db: Session, owner: str, *, name: str, model: str, metadata: dict[str, str]) -> StoredCheckpoint:
    """A checkpoint that is ready at once: the weights, classes, input and recipe of `model`.

    What the model was adapted to becomes its known source dataset.

    Raises:
        NotFound: the owner has no such model.
    """
    row = models.get(db, owner, model, param="model")
    checkpoint = CheckpointRow(
        model=row.id,
        dataset=row.dataset,
        network=row.network,
        input=row.input,
        classes=row.classes,
        multi_label=row.multi_label,
        recipe=row.recipe,
        parameters=row.parameters,
        sha256=row.sha256,
        weights=row.weights,
        graph=row.graph,
        not_servable=row.not_servable,
        image_bytes=row.image_bytes,
        reference=row.reference,
        untrained_head=row.untrained_head,
        **_common(owner, name, metadata),
    )
    repository.add(db, checkpoint)
    return StoredCheckpoint(
        checkpoint, _enqueue(db, checkpoint, [row.id], born=Status.SUCCEEDED, warnings=row.warnings)
    )


def get(db: Session, owner: str, checkpoint_id: str, *, param: str | None = None) -> StoredCheckpoint:
    """`param` names the field of a request that refers to it: such a checkpoint is held against deletion meanwhile.

    Raises:
        NotFound: the owner has no such checkpoint.
    """
    stored = repository.find(db, owner, checkpoint_id, hold=param is not None)
    if stored is None:
        raise errors.NotFound(f"There is no checkpoint {checkpoint_id}.", param=param)
    return stored


def ready(db: Session, owner: str, checkpoint_id: str) -> CheckpointRow:
    """
    Raises:
        NotReady: its ingest has not ended, or has failed.
    """
    stored = get(db, owner, checkpoint_id)
    state = readiness(Status(stored.task.status))
    if state is not Readiness.READY:
        raise errors.NotReady(f"The checkpoint {checkpoint_id} is {state}.")
    return stored.checkpoint


def answering(db: Session, owner: str, checkpoint_id: str) -> CheckpointRow:
    """A ready checkpoint whose head has learnt its classes.

    Raises:
        NotReady: see `ready`.
        UntrainedHead: its head was drawn at random.
    """
    checkpoint = ready(db, owner, checkpoint_id)
    if checkpoint.untrained_head:
        raise errors.UntrainedHead(
            f"The head of {checkpoint_id} was drawn at random: adapt it with a method that learns from labels."
        )
    return checkpoint


def page(db: Session, owner: str, page: Page, status: Readiness | None) -> list[StoredCheckpoint]:
    return repository.page(db, owner, page, statuses(status) if status else ())


def recipe(db: Session, owner: str, checkpoint_id: str) -> dict[str, object]:
    """
    Raises:
        NotFound: there is no such checkpoint.
        NoRecipe: it was stored without one.
    """
    document = get(db, owner, checkpoint_id).checkpoint.recipe
    if document is None:
        raise errors.NoRecipe(f"The checkpoint {checkpoint_id} has no recipe.")
    return document


def prepare(db: Session, checkpoint_id: str) -> Prepared[CheckpointIngest]:
    """Tell a worker how to make the checkpoint.

    Raises:
        NotFound: it was deleted meanwhile.
        Unfit: the dataset that is to decide which network it is cannot, now that it is known.
    """
    checkpoint = stored(db, checkpoint_id)
    file = files.by_id(db, checkpoint.file) if checkpoint.file else None
    named = checkpoint.pretrained is None and checkpoint.network["name"] is not None
    document = {
        "network": checkpoint.network if named else None,
        "input": checkpoint.input,
        "classes": checkpoint.classes,
        "multi_label": checkpoint.multi_label,
        "recipe": checkpoint.recipe,
        "pretrained": checkpoint.pretrained,
        "filename": file and file.filename,
    }
    options = dict(checkpoint.options or {})
    inputs: dict[str, str] = {} if file is None else {Input.FILE: file.sha256}
    if dataset_id := options.pop("dataset", None):
        dataset, images = labelled.prepared(db, checkpoint.owner, dataset_id)
        document, inputs = document | {"dataset": dataset.dump()}, inputs | images
    return Prepared(CheckpointIngest.load(document | options), inputs)


def publish(db: Session, checkpoint_id: str, result: CheckpointResult, written: Written) -> None:
    """Record what ingest made of the weights.  The caller holds the lease and ends the task in the same transaction."""
    checkpoint = stored(db, checkpoint_id)
    checkpoint.network = result.network.document()
    checkpoint.input = record.stored(result.input)
    checkpoint.classes = result.classes
    checkpoint.multi_label = result.multi_label
    checkpoint.recipe = record.stored(result.recipe)
    checkpoint.untrained_head = result.untrained_head
    checkpoint.report = record.stored(result.report)
    checkpoint.identified = record.stored(result.identified)
    checkpoint.parameters = result.parameters
    checkpoint.sha256 = result.sha256
    checkpoint.not_servable = result.not_servable
    checkpoint.image_bytes = result.image_bytes
    checkpoint.stored_bytes = written.stored_bytes
    checkpoint.weights = written.addresses[Artifact.WEIGHTS]
    checkpoint.graph = written.addresses.get(Artifact.GRAPH)


def stored(db: Session, checkpoint_id: str) -> CheckpointRow:
    """The checkpoint, whoever owns it: for the worker, whose claim has settled whose it is.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    checkpoint = repository.get(db, checkpoint_id)
    if checkpoint is None:
        raise errors.NotFound(f"There is no checkpoint {checkpoint_id}.")
    return checkpoint


def _require_a_question(ingest: CheckpointIngest) -> None:
    """
    Raises:
        Invalid: the network is named already; or an image has any number of its classes, so that none is the right one.
    """
    if ingest.network is not None:
        raise errors.Invalid(
            "`dataset` decides which network a file is of: leave it or `network` out.", param="dataset"
        )
    if ingest.multi_label:
        raise errors.Invalid("`dataset` decides by one class an image: leave it or `multi_label` out.", param="dataset")


def _common(owner: str, name: str, metadata: dict[str, str]) -> dict[str, object]:
    return {"id": ids.new("ckpt"), "owner": owner, "created_at": now(), "name": name, "user_metadata": metadata}


def _ingest(db: Session, checkpoint: CheckpointRow, needs: Sequence[str]) -> StoredCheckpoint:
    repository.add(db, checkpoint)
    return StoredCheckpoint(checkpoint, _enqueue(db, checkpoint, needs))


def _enqueue(
    db: Session,
    checkpoint: CheckpointRow,
    needs: Sequence[str],
    born: Status = Status.QUEUED,
    warnings: Sequence[Warned] = (),
) -> Task:
    return queue.enqueue(
        db,
        id=checkpoint.id,
        kind=KIND,
        lane="ingest",
        owner=checkpoint.owner,
        needs=needs,
        born=born,
        warnings=warnings,
    )
