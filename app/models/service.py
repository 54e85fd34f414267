"""The rules of adapted models: born of a job, immutable."""

from sqlalchemy.orm import Session

from app.contract import record
from app.contract.blobs import Artifact, Written
from app.contract.quantization import QuantizationReport
from app.contract.results import AdaptedResult
from app.core import errors, ids
from app.db.paging import Page
from app.db.session import now
from app.db.tables import JobRow, ModelRow
from app.models import card, repository
from app.models import report as pages
from app.models.repository import Origin
from app.queue import service as queue


def get(db: Session, owner: str, model_id: str, *, param: str | None = None) -> ModelRow:
    """`param` names the field of a request that refers to it: such a model is held against deletion meanwhile.

    Raises:
        NotFound: the owner has no such model.
    """
    model = repository.find(db, owner, model_id, hold=param is not None)
    if model is None:
        raise errors.NotFound(f"There is no model {model_id}.", param=param)
    return model


def answering(db: Session, owner: str, model_id: str) -> ModelRow:
    """A model whose head has learnt its classes.

    Raises:
        NotFound: see `get`.
        UntrainedHead: it was trained without labels, and its head is as it was drawn.
    """
    model = get(db, owner, model_id)
    if model.untrained_head:
        raise errors.UntrainedHead(
            f"{model_id} was trained without labels, and its head is as it was drawn: it gives embeddings, and a "
            "method that learns from labels gives it a head."
        )
    return model


def page(
    db: Session,
    owner: str,
    page: Page,
    *,
    method: str | None = None,
    checkpoint: str | None = None,
    dataset: str | None = None,
) -> list[ModelRow]:
    return repository.page(db, owner, page, method=method, checkpoint=checkpoint, dataset=dataset)


def publish(db: Session, job: JobRow, result: AdaptedResult, written: Written) -> ModelRow:
    """The model that `job` made.

    It needs the job, and all that the job needed, for as long as it lives.
    """
    model = ModelRow(
        id=ids.new("model"),
        owner=job.owner,
        created_at=now(),
        job=job.id,
        checkpoint=job.checkpoint,
        dataset=job.dataset,
        network=result.network.document(),
        input=record.stored(result.input),
        classes=result.classes,
        multi_label=result.multi_label,
        recipe=record.stored(result.recipe),
        parameters=result.parameters,
        sha256=result.sha256,
        weights=written.addresses[Artifact.WEIGHTS],
        graph=written.addresses.get(Artifact.GRAPH),
        adapter=written.addresses.get(Artifact.ADAPTER),
        not_servable=result.not_servable,
        image_bytes=result.image_bytes,
        reference=record.stored(result.reference),
        stored_bytes=written.stored_bytes,
        untrained_head=result.untrained_head,
        evaluation=record.stored(result.evaluation),
        transfer=record.stored(result.transfer),
        warnings=queue.warnings(db, job.id),
        user_metadata=job.user_metadata,
    )
    repository.add(db, model)
    queue.depend(db, model.id, [job.id, *queue.needs(db, job.id)])
    return model


def quantize(db: Session, owner: str, model_id: str, report: QuantizationReport, written: Written) -> None:
    """The model is served in eight bits from now on, too, where that is asked for; an earlier such graph is replaced.

    Raises:
        NotFound: the owner has no such model.
    """
    model = get(db, owner, model_id)
    model.quantized, model.quantization = written.addresses[Artifact.QUANTIZED], report.dump()
    model.stored_bytes += written.stored_bytes


def recipe(db: Session, owner: str, model_id: str) -> dict[str, object]:
    """
    Raises:
        NotFound: the owner has no such model.
        NoRecipe: it was made without one.
    """
    document = get(db, owner, model_id).recipe
    if document is None:
        raise errors.NoRecipe(f"The model {model_id} has no recipe.")
    return document


def describe(db: Session, owner: str, model_id: str) -> str:
    """The model card, in Markdown.

    Raises:
        NotFound: the owner has no such model.
    """
    origin = _origin(db, owner, model_id)
    return card.render(origin.model, origin.job, origin.dataset)


def report(db: Session, owner: str, model_id: str) -> str:
    """The report on the model, an HTML page.

    Raises:
        NotFound: the owner has no such model.
    """
    origin = _origin(db, owner, model_id)
    return pages.render(origin, repository.curves(db, origin.job.id))


def _origin(db: Session, owner: str, model_id: str) -> Origin:
    origin = repository.origin(db, owner, model_id)
    if origin is None:
        raise errors.NotFound(f"There is no model {model_id}.")
    return origin
