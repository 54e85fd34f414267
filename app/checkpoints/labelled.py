"""The labelled dataset that decides which of several networks a file is of."""

from sqlalchemy.orm import Session

from app.contract.blobs import Input
from app.contract.specs import LabelledDataset
from app.core import errors
from app.core.status import Readiness, Status, readiness
from app.datasets import service as datasets
from app.db.tables import DatasetRow

PARAM = "dataset"


def require(db: Session, owner: str, dataset_id: str) -> DatasetRow:
    """The dataset, which may still be processing; it is held against deletion meanwhile.

    Raises:
        NotFound: the owner has no such dataset.
        NotReady: its ingest has failed.
        Unfit: its images have no label, or any number of labels.
    """
    dataset, task = datasets.get(db, owner, dataset_id, param=PARAM)
    if readiness(Status(task.status)) is Readiness.FAILED:
        raise errors.NotReady(f"{dataset_id} has failed; GET it for the reason.", param=PARAM)
    if not dataset.labelled:
        raise errors.Unfit(f"The images of {dataset_id} have no labels: give a labelled dataset, or none.", param=PARAM)
    if dataset.multi_label:
        raise errors.Unfit(
            f"An image of {dataset_id} has any number of labels: give a dataset with one label an image, or none.",
            param=PARAM,
        )
    return dataset


def prepared(db: Session, owner: str, dataset_id: str) -> tuple[LabelledDataset, dict[str, str]]:
    """Describe the ready dataset to a worker, with the content addresses of its images by role.

    Raises:
        NotFound, Unfit: see `require`; what its ingest has found out counts now, too.
    """
    dataset = require(db, owner, dataset_id)
    blobs = {Input.LABELLED_PIXELS: dataset.pixels, Input.LABELLED_INDEX: dataset.index}
    document = datasets.spec(dataset).dump() | {"id": dataset.id}
    return LabelledDataset.load(document), {role: sha256 for role, sha256 in blobs.items() if sha256 is not None}
