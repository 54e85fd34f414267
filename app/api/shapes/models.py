"""`/v1/models`: what jobs made."""

from typing import Any, Literal, Self

from app.api.shapes.common import Evaluation, InputShape, NetworkShape, Object
from app.db.tables import Model as Row


class Model(Object):
    """Immutable."""

    object: Literal["model"] = "model"
    job: str
    checkpoint: str | None
    dataset: str
    network: NetworkShape
    input: InputShape | None
    classes: list[str] | None
    multi_label: bool
    parameters: int
    sha256: str
    servable: bool
    not_servable: str | None
    evaluation: Evaluation | None
    transfer: dict[str, Any] | None
    metadata: dict[str, str]

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(
            id=row.id,
            created_at=row.created_at,
            job=row.job,
            checkpoint=row.checkpoint,
            dataset=row.dataset,
            network=row.network,
            input=row.input,
            classes=row.classes,
            multi_label=row.multi_label,
            parameters=row.parameters,
            sha256=row.sha256,
            servable=row.graph is not None,
            not_servable=row.not_servable,
            evaluation=row.evaluation,
            transfer=row.transfer,
            metadata=row.user_metadata,
        )
