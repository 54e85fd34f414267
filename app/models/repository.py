"""The SQL of models."""

from typing import NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.db.held import held
from app.db.paging import Page, paged
from app.db.tables import DatasetRow, JobRow, Metric, ModelRow


class Origin(NamedTuple):
    """A model, the job that made it, and the dataset that it was adapted to."""

    model: ModelRow
    job: JobRow
    dataset: DatasetRow


def add(db: Session, model: ModelRow) -> None:
    db.add(model)
    db.flush()


def find(db: Session, owner: str, model_id: str, *, hold: bool = False) -> ModelRow | None:
    """The owner's model; somebody else's is as good as none.  `hold`: it cannot be deleted before we are done."""
    query = select(ModelRow).where(ModelRow.id == model_id, ModelRow.owner == owner)
    return db.scalars(held(db, query, ModelRow) if hold else query).one_or_none()


def origin(db: Session, owner: str, model_id: str) -> Origin | None:
    query = (
        select(ModelRow, JobRow, DatasetRow)
        .join(JobRow, JobRow.id == ModelRow.job)
        .join(DatasetRow, DatasetRow.id == ModelRow.dataset)
    )
    row = db.execute(query.where(ModelRow.id == model_id, ModelRow.owner == owner)).one_or_none()
    return row and Origin(*row)


def curves(db: Session, job_id: str) -> list[Metric]:
    """The loss and accuracy curves of all that the job has measured, in the order of their steps."""
    wanted = or_(*(Metric.name.endswith(name, autoescape=True) for name in ("loss", "accuracy")))
    return list(db.scalars(select(Metric).where(Metric.job == job_id, wanted).order_by(Metric.step)))


def page(
    db: Session, owner: str, page: Page, *, method: str | None, checkpoint: str | None, dataset: str | None
) -> list[ModelRow]:
    """Up to `page.limit + 1` models: the one too many says that there are more."""
    query = select(ModelRow)
    if method is not None:
        query = query.join(JobRow, JobRow.id == ModelRow.job).where(JobRow.method_name == method)
    for column, wanted in ((ModelRow.checkpoint, checkpoint), (ModelRow.dataset, dataset)):
        if wanted is not None:
            query = query.where(column == wanted)
    return list(db.scalars(paged(db, query, ModelRow, owner, page)))
