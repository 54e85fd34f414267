"""The SQL of models."""

from typing import NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.db.held import held
from app.db.paging import Page, paged
from app.db.tables import Dataset, Job, Metric, Model


class Origin(NamedTuple):
    """A model, the job that made it, and the dataset that it was adapted to."""

    model: Model
    job: Job
    dataset: Dataset


def add(db: Session, model: Model) -> None:
    db.add(model)
    db.flush()


def find(db: Session, owner: str, model_id: str, *, hold: bool = False) -> Model | None:
    """The owner's model; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    query = select(Model).where(Model.id == model_id, Model.owner == owner)
    return db.scalars(held(db, query, Model) if hold else query).one_or_none()


def origin(db: Session, owner: str, model_id: str) -> Origin | None:
    query = select(Model, Job, Dataset).join(Job, Job.id == Model.job).join(Dataset, Dataset.id == Model.dataset)
    row = db.execute(query.where(Model.id == model_id, Model.owner == owner)).one_or_none()
    return row and Origin(*row)


def curves(db: Session, job_id: str) -> list[Metric]:
    """Of all that the job has measured, loss and accuracy, in the order of their steps."""
    wanted = or_(*(Metric.name.endswith(name, autoescape=True) for name in ("loss", "accuracy")))
    return list(db.scalars(select(Metric).where(Metric.job == job_id, wanted).order_by(Metric.step)))


def page(
    db: Session, owner: str, page: Page, *, method: str | None, checkpoint: str | None, dataset: str | None
) -> list[Model]:
    """Up to `page.limit + 1` models: the one too many says that there are more."""
    query = select(Model)
    if method is not None:
        query = query.join(Job, Job.id == Model.job).where(Job.method_name == method)
    for column, wanted in ((Model.checkpoint, checkpoint), (Model.dataset, dataset)):
        if wanted is not None:
            query = query.where(column == wanted)
    return list(db.scalars(paged(db, query, Model, owner, page)))
