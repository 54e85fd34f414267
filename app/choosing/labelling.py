"""Labels that narrow a recommendation: which images are worth one, and the same question once they have it."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.choosing import service
from app.choosing.service import Asked, Recommended, StoredAnswer
from app.contract.recommendation import ToLabel
from app.core import errors
from app.datasets import revisions
from app.datasets import service as datasets
from app.db.tables import DatasetRow


class Unlabelled(NamedTuple):
    """The images of `dataset` that are worth a label; None where there are none, or nothing could be measured."""

    dataset: DatasetRow
    ranked: ToLabel | None


def next_images(db: Session, owner: str, recommendation_id: str) -> Unlabelled:
    """
    Raises:
        NotFound: the owner has no such recommendation.
        NotReady: it is not measured yet.
    """
    row = service.find(db, owner, recommendation_id).recommendation
    if row.result is None:
        raise errors.NotReady(f"{row.id} is not ready: which labels would help is known with its answer.", param="id")
    return Unlabelled(datasets.stored(db, row.dataset), StoredAnswer.load(row.result).to_label)


def give(
    db: Session,
    owner: str,
    recommendation_id: str,
    labels: str,
    *,
    stated: bool,
    columns: Mapping[str, str] | None,
    seen: int | None,
) -> Recommended:
    """Ask again of a revision of the dataset with the labels in the file `labels` (see `revisions.create`), of which
    `seen` a class may be read, None is all.

    Raises:
        NotFound: the owner has no such recommendation or file, or what it was asked about is gone.
        NotReady, Unfit: see `service.create`.
    """
    row = service.find(db, owner, recommendation_id).recommendation
    revision = revisions.create(
        db, owner, row.dataset, labels=labels, stated=stated, name=None, columns=columns, metadata={}
    )
    asked = Asked(
        dataset=revision.dataset.id,
        checkpoints=row.request["checkpoints"],
        methods=row.request["methods"],
        source_dataset=row.source_dataset,
        labels=seen,
        images=row.request["images"],
        seed=row.request["seed"],
        budget_s=row.request["budget_s"],
        objective=row.request.get("objective", "accuracy"),
        narrows=row.id,
    )
    return service.create(db, owner, asked)
