"""`/v1/checkpoints`: source models."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag

from app.api.schemas.common import ClassNames, Fault, Metadata, Name, NetworkShape, Object, Shape, Warned
from app.checkpoints.identification import StoredIdentification
from app.checkpoints.repository import StoredCheckpoint
from app.contract.base import ObjectId, StrictModel, Text
from app.contract.identification import Candidate, Trial
from app.contract.inputs import InputShape, InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Recipe
from app.contract.specs import CheckpointIngest
from app.core.status import Readiness, Status, readiness

MAX_TENSORS = 50_000  # of a file
TensorName = Annotated[Text, Field(min_length=1, max_length=512)]


class _NewCheckpoint(StrictModel):
    name: Name
    metadata: Metadata = {}


class FromFile(_NewCheckpoint):
    """Weights in a file that was uploaded: `.safetensors`, or `.pt`/`.pth` that holds tensors alone.

    `network` may be left out, or `auto`: it is what the file says itself (weights that this service gave), or what its
    tensors are recognised as; `input` and `classes` are the file's own then, or what is usual.  `classes` are as many
    as the network has.  `mapping`: the network's names of tensors of the file, by their names there.  `multi_label`: an
    image has any number of the classes, each with a probability of its own.  `weights`: of several sets in the file
    (raw and averaged, student and teacher) the one to take, by its kind or by what its names begin with.
    `allow_missing`: what is missing of the network is drawn at random, and what has no place in it is left out; without
    it both are refused, but for a head of other classes.  `dataset`: its labelled images decide between networks that
    the file fits alike.  It goes with no `network` and no `multi_label`, and its images have one label each.
    """

    file: ObjectId
    network: NetworkSpec | Literal["auto"] | None = None
    input: InputSpec | None = None
    classes: ClassNames | None = None
    multi_label: bool = False
    recipe: Recipe | None = None
    weights: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    mapping: Annotated[dict[TensorName, TensorName], Field(max_length=MAX_TENSORS)] | None = None
    allow_missing: bool = False
    dataset: ObjectId | None = None

    def ingest(self) -> CheckpointIngest:
        """Say to a worker how the checkpoint is to be made."""
        return CheckpointIngest(
            network=None if self.network == "auto" else self.network,
            input=self.input,
            classes=self.classes,
            multi_label=self.multi_label,
            recipe=self.recipe,
            weights=self.weights,
            mapping=self.mapping,
            allow_missing=self.allow_missing,
        )


class Pretrained(_NewCheckpoint):
    """Weights that torchvision or timm publish, fetched by the worker; `GET /v1/networks` lists them."""

    pretrained: Annotated[
        str, Field(max_length=256, pattern=r"^(torchvision|timm)/[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)?$")
    ]


class Promoted(_NewCheckpoint):
    """The weights, classes, input and recipe of a model that a job made; ready at once."""

    model: ObjectId


def _form(body: Any) -> str:
    """The one of the three forms that a body takes; a body that takes none is judged as the commonest."""
    fields = body if isinstance(body, dict) else getattr(body, "model_fields_set", ())
    return next(
        (f"by {form}" for form in ("pretrained", "model") if form in fields and "file" not in fields), "by file"
    )


NewCheckpoint = Annotated[
    Annotated[FromFile, Tag("by file")]
    | Annotated[Pretrained, Tag("by pretrained")]
    | Annotated[Promoted, Tag("by model")],
    Discriminator(_form),
]


class Report(Shape):
    """A report of what became of each tensor: names as they are in the file and in the network."""

    copied: list[Any]
    renamed: list[Any]
    reshaped: list[Any]
    skipped: list[Any]
    initialised: list[Any]


class Identified(Shape):
    """`candidates` are networks that the file's weights may be of, the best first; `rule` says how the first was told:
    `names`, `structure` (order and shapes) or `metadata` (the file says it); null where none is taken.  `measured`:
    what candidates that fit alike made of labelled images, where a dataset was to decide between them."""

    rule: str | None
    candidates: list[Candidate]
    measured: Trial | None = None


class NewIdentification(StrictModel):
    """The file whose network is asked for.  `dataset`: its labelled images, with one label each, decide between
    networks that the file fits alike.  `input` and `classes` are what the network is for; left out, what the file says
    itself, or what is usual."""

    file: ObjectId
    dataset: ObjectId | None = None
    input: InputSpec | None = None
    classes: ClassNames | None = None


class IdentificationObject(Object):
    """`rule`, `candidates` and `measured` are null until it is ready, see `identified` of a checkpoint."""

    object: Literal["identification"] = "identification"
    status: Readiness
    error: Fault | None
    file: str
    dataset: str | None
    input: InputShape | None
    classes: list[str] | None
    rule: str | None
    candidates: list[Candidate] | None
    measured: Trial | None
    warnings: list[Warned]

    @classmethod
    def of(cls, stored: StoredIdentification) -> Self:
        row, task = stored
        identified = None if row.result is None else Identified.model_validate(row.result)
        return cls(
            id=row.id,
            created_at=row.created_at,
            status=readiness(Status(task.status)),
            error=Fault.of(task),
            file=row.file,
            dataset=row.dataset,
            input=row.input,
            classes=row.classes,
            rule=identified and identified.rule,
            candidates=identified and identified.candidates,
            measured=identified and identified.measured,
            warnings=task.warnings,
        )


class Checkpoint(Object):
    """`servable` is null until it is ready.  `identified` says of what network the file was found to be, where the
    request named none.

    `untrained_head`: its head was drawn at random, so that it answers neither predictions nor `evaluate`.
    """

    object: Literal["checkpoint"] = "checkpoint"
    name: str
    status: Readiness
    error: Fault | None
    file: str | None
    pretrained: str | None
    model: str | None
    dataset: str | None
    network: NetworkShape | None
    input: InputShape | None
    classes: list[str] | None
    multi_label: bool
    parameters: int | None
    sha256: str | None
    servable: bool | None
    not_servable: str | None
    untrained_head: bool
    report: Report | None
    identified: Identified | None
    warnings: list[Warned]
    metadata: dict[str, str]

    @classmethod
    def of(cls, stored: StoredCheckpoint) -> Self:
        row, task = stored
        state = readiness(Status(task.status))
        return cls(
            id=row.id,
            created_at=row.created_at,
            name=row.name,
            status=state,
            error=Fault.of(task),
            file=row.file,
            pretrained=row.pretrained,
            model=row.model,
            dataset=row.dataset,
            network=NetworkShape.of(row.network),
            input=row.input,
            classes=row.classes,
            multi_label=row.multi_label,
            parameters=row.parameters,
            sha256=row.sha256,
            servable=row.graph is not None and row.not_servable is None if state is Readiness.READY else None,
            not_servable=row.not_servable,
            untrained_head=row.untrained_head,
            report=row.report,
            identified=row.identified,
            warnings=task.warnings,
            metadata=row.user_metadata,
        )
