"""The source that a job starts from: a checkpoint, or a model that another job made."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.checkpoints import service as checkpoints
from app.contract.specs import SourceSpec
from app.contract.transfer import TensorReport
from app.core.status import Readiness, Status, readiness
from app.db.tables import Document, JobRow, ServableRow
from app.models import service as models


@dataclass(frozen=True)
class Source:
    """Weights with their contract, and the dataset that they were trained on where that is known.

    Where `untrained_head`, the head was drawn at random: its `classes` are None, since it knows none.  `drawn` names
    all tensors that were drawn at random because the checkpoint's file had none of them.
    """

    id: str
    readiness: Readiness
    network: Document
    input: Document | None
    classes: list[str] | None
    recipe: Document | None
    parameters: int | None
    sha256: str | None
    weights: str | None
    dataset: str | None
    multi_label: bool = False
    untrained_head: bool = False
    drawn: tuple[str, ...] = ()

    @property
    def spec(self) -> SourceSpec:
        """The description for a run; it is ready."""
        document = {
            "network": self.network,
            "input": self.input,
            "classes": self.classes,
            "multi_label": self.multi_label,
            "recipe": self.recipe,
            "untrained_head": self.untrained_head,
            "drawn": self.drawn,
        }
        return SourceSpec.load(document)


def find(db: Session, owner: str, source_id: str, param: str) -> Source:
    """
    Raises:
        NotFound: the owner has no such checkpoint or model.
    """
    if source_id.startswith("model_"):
        model = models.get(db, owner, source_id, param=param)
        return _source(model.id, Readiness.READY, model, model.dataset)
    checkpoint, task = checkpoints.get(db, owner, source_id, param=param)
    drawn = tuple(TensorReport.load(checkpoint.report or {}).initialised)
    return _source(checkpoint.id, readiness(Status(task.status)), checkpoint, checkpoint.dataset, drawn)


def trained_on(db: Session, owner: str, source: Source) -> list[str]:
    """Ids of the datasets that it learned from; empty where they are not known."""
    promoted = None if source.id.startswith("model_") else checkpoints.get(db, owner, source.id).checkpoint.model
    if promoted or source.id.startswith("model_"):
        job = db.get(JobRow, models.get(db, owner, promoted or source.id).job)
        if job is not None and job.method.get("environments"):
            return list(job.method["environments"])  # its dataset was measured, not learned from
    return [] if source.dataset is None else [source.dataset]


def _source(
    source_id: str, state: Readiness, servable: ServableRow, dataset: str | None, drawn: tuple[str, ...] = ()
) -> Source:
    return Source(
        id=source_id,
        readiness=state,
        network=servable.network,
        input=servable.input,
        classes=None if servable.untrained_head else servable.classes,
        recipe=servable.recipe,
        parameters=servable.parameters,
        sha256=servable.sha256,
        weights=servable.weights,
        dataset=dataset,
        multi_label=servable.multi_label,
        untrained_head=servable.untrained_head,
        drawn=drawn,
    )
