"""`/v1/models`: what jobs made."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from app.api.schemas.common import Metadata, Name, NetworkShape, Object, Warned
from app.contract.base import StrictModel
from app.contract.evaluation import Evaluation
from app.contract.inputs import InputShape
from app.contract.reference import Reference
from app.db.tables import ModelRow as Row
from app.methods.utilities.quantize import Quantize


class Quantization(StrictModel):
    """Limits to what a model may lose by being quantized."""

    precision: Literal["int8"] = "int8"
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)] = Quantize().max_accuracy_drop
    max_score_shift: Annotated[float, Field(ge=0, le=1)] = Quantize().max_score_shift
    images: Annotated[int, Field(ge=1, le=10_000)] = Quantize().images
    name: Name | None = None
    metadata: Metadata = {}

    @property
    def method(self) -> Quantize:
        return Quantize.model_validate(self.model_dump(exclude={"name", "metadata"}))


class Model(Object):
    """Immutable.

    `untrained_head`: it was trained without labels, and its head is as it was drawn; it gives embeddings alone.
    `reference`: its answers for the validation images, which predictions are compared with; null where there were none.
    """

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
    untrained_head: bool
    reference: Reference | None
    evaluation: Evaluation | None
    transfer: dict[str, Any] | None
    quantization: dict[str, Any] | None
    warnings: list[Warned]
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
            servable=row.graph is not None and row.not_servable is None,
            not_servable=row.not_servable,
            untrained_head=row.untrained_head,
            reference=row.reference,
            evaluation=row.evaluation,
            transfer=row.transfer,
            quantization=row.quantization,
            warnings=row.warnings,
            metadata=row.user_metadata,
        )
