"""The rules of adapted models: born of a job, immutable."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.core import errors, ids
from app.db.paging import Page
from app.db.session import now
from app.db.tables import Job, Model
from app.models import card, repository
from app.models import report as pages
from app.models.repository import Lineage
from app.queue import service as queue


def get(db: Session, owner: str, model_id: str, *, param: str | None = None) -> Model:
    """`param` names the field of a request that refers to it: such a model is held against deletion meanwhile.

    Raises:
        NotFound: the owner has no such model.
    """
    model = repository.find(db, owner, model_id, hold=param is not None)
    if model is None:
        raise errors.NotFound(f"There is no model {model_id}.", param=param)
    return model


def answering(db: Session, owner: str, model_id: str) -> Model:
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
) -> list[Model]:
    return repository.page(db, owner, page, method=method, checkpoint=checkpoint, dataset=dataset)


def publish(db: Session, job: Job, document: Mapping[str, Any], blobs: Mapping[str, str]) -> Model:
    """The model that `job` made; `blobs` are content addresses by role.

    It needs the job, and all that the job needed, for as long as it lives.
    """
    model = Model(
        id=ids.new("model"),
        owner=job.owner,
        created_at=now(),
        job=job.id,
        checkpoint=job.checkpoint,
        dataset=job.dataset,
        network=document["network"],
        input=document["input"],
        classes=document["classes"],
        multi_label=document.get("multi_label", False),
        recipe=document.get("recipe"),
        parameters=document["parameters"],
        sha256=document["sha256"],
        weights=blobs["weights"],
        graph=blobs.get("graph"),
        adapter=blobs.get("adapter"),
        not_servable=document.get("not_servable"),
        image_bytes=document.get("image_bytes"),
        stored_bytes=document.get("stored_bytes", 0),
        untrained_head=document.get("untrained_head", False),
        evaluation=document.get("evaluation"),
        transfer=document.get("transfer"),
        warnings=queue.warnings(db, job.id),
        user_metadata=job.user_metadata,
    )
    repository.add(db, model)
    queue.depend(db, model.id, [job.id, *queue.needs(db, job.id)])
    return model


def quantize(db: Session, owner: str, model_id: str, document: dict[str, Any], graph: str, stored_bytes: int) -> None:
    """The model is served in eight bits from now on, too, where that is asked for; an earlier such graph is replaced.

    Raises:
        NotFound: the owner has no such model.
    """
    model = get(db, owner, model_id)
    model.quantized, model.quantization = graph, document
    model.stored_bytes += stored_bytes


def recipe(db: Session, owner: str, model_id: str) -> dict[str, Any]:
    """
    Raises:
        NotFound: the owner has no such model.
        NoRecipe: it was made without one.
    """
    found = get(db, owner, model_id).recipe
    if found is None:
        raise errors.NoRecipe(f"The model {model_id} has no recipe.")
    return found


def describe(db: Session, owner: str, model_id: str) -> str:
    """The model card, in Markdown.

    Raises:
        NotFound: the owner has no such model.
    """
    lineage = _lineage(db, owner, model_id)
    return card.render(lineage.model, lineage.job, lineage.dataset)


def report(db: Session, owner: str, model_id: str) -> str:
    """The report on the model, an HTML page.

    Raises:
        NotFound: the owner has no such model.
    """
    lineage = _lineage(db, owner, model_id)
    return pages.render(lineage, repository.curves(db, lineage.job.id))


def _lineage(db: Session, owner: str, model_id: str) -> Lineage:
    lineage = repository.lineage(db, owner, model_id)
    if lineage is None:
        raise errors.NotFound(f"There is no model {model_id}.")
    return lineage
