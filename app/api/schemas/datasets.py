"""`/v1/datasets`: labelled and unlabelled images."""

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from app.api.schemas.common import Fault, Listed, Metadata, Name, Object, Warned
from app.contract.base import DISTINCT, NULL, Fraction, ObjectId, Seed, StrictModel, Text, either
from app.contract.datasets import ClassCounts, Counts, Duplicates, ImageShape, Refused, RevisionReport, Split
from app.contract.specs import DatasetIngest
from app.core.status import Readiness, Status, readiness
from app.datasets import service as datasets
from app.datasets.repository import StoredDataset
from app.datasets.samples import StoredSample

Format = Literal["auto", "folder", "cifar10", "cifar100", "idx", "npz", "csv", "parquet", "webdataset"]


class Splits(StrictModel):
    """The shares of the training images that splits get, where the archive does not bring it.  The three sum to 1."""

    train: Annotated[float, Field(gt=0, le=1)] = 0.7
    validation: Fraction = 0.1
    test: Fraction = 0.2

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train, validation and test must sum to 1")
        return self


ClassNames = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=256)]], Field(min_length=2, max_length=100_000), DISTINCT
]
ColumnName = Annotated[Text, Field(min_length=1, max_length=256)]
OwnNames = Annotated[list[Annotated[Text, Field(min_length=1, max_length=256)]], Field(max_length=100), DISTINCT]


class Columns(StrictModel):
    """Names of the columns of a table, where they are not known.  `label` has one an image, `labels` any number: not
    both."""

    between_fields = (either({"label": NULL}, {"labels": NULL}),)

    image: ColumnName | None = None
    label: ColumnName | None = None
    labels: ColumnName | None = None
    split: ColumnName | None = None

    @model_validator(mode="after")
    def _one_kind_of_label(self) -> Self:
        if self.label is not None and self.labels is not None:
            raise ValueError("name `label` (one an image) or `labels` (any number), not both")
        return self


class SplitNames(StrictModel):
    """Names by which folders, or the cells of a table, call splits, beside the names that people give; in any case.
    Among all three a name stands once."""

    train: OwnNames = []
    validation: OwnNames = []
    test: OwnNames = []

    @model_validator(mode="after")
    def _one_split_each(self) -> Self:
        names = Counter(name.strip().lower() for one in (self.train, self.validation, self.test) for name in one)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"{twice[0][:80]!r} stands twice")
        return self


class NewDataset(StrictModel):
    """`labels` chooses between CIFAR-100's label sets; other formats have one.  `labelled`: `test` is for labels of the
    test split alone.  `classes` gives them an order, and names where the labels are numbers."""

    name: Name
    file: ObjectId
    format: Format = "auto"
    splits: Splits | None = None
    seed: Seed = 0
    labelled: bool | Literal["test"] = True
    columns: Columns | None = None
    split_names: SplitNames | None = None
    classes: ClassNames | None = None
    labels: Literal["fine", "coarse"] = "fine"
    metadata: Metadata = {}

    @field_validator("classes")
    @classmethod
    def _once_each(cls, classes: list[str] | None) -> list[str] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError("a class stands twice")
        return classes

    def ingest(self) -> DatasetIngest:
        """Say to a worker how the dataset is to be made; what was left out keeps its default."""
        return DatasetIngest.load(self.model_dump(exclude={"name", "file", "metadata"}, exclude_none=True))


ImageName = Annotated[Text, Field(min_length=1, max_length=1024)]
ClassName = Annotated[Text, Field(min_length=1, max_length=256)]


class ImageLabel(StrictModel):
    """`image` is the name of its file, or the id of its sample.  `label` is its class, a list of several where the
    dataset has any number an image, null where it is to have none."""

    image: ImageName
    label: ClassName | Annotated[list[ClassName], Field(max_length=100_000)] | None


LabelList = ObjectId | Annotated[list[ImageLabel], Field(min_length=1, max_length=100_000)]


class NewRevision(StrictModel):
    """`labels` is the id of a table (CSV, JSON, JSON lines, Label Studio's export) that names images of the dataset and
    their labels, or such pairs, as many as a body may have bytes for.  What it does not name keeps its label.
    `columns` are those of the table.  `name` is the parent's, if left out."""

    labels: LabelList
    name: Name | None = None
    columns: Columns | None = None
    metadata: Metadata = {}


class Dataset(Object):
    """All that ingest finds out is null until it is ready; `image` stays null where sizes are mixed.

    `parent` is the dataset that a revision was made of, which may be gone; `file` is then the parent's, and the list of
    labels is `labels_file`; `revision` says what became of the labels.

    `multi_label`: an image has any number of the classes, and counts for each.  `labelled`: `test` where the training
    images have no labels.
    """

    object: Literal["dataset"] = "dataset"
    name: str
    status: Readiness
    error: Fault | None
    file: str
    parent: str | None
    labels_file: str | None
    revision: RevisionReport | None
    format: str
    classes: list[str] | None
    labelled: bool | Literal["test"]
    multi_label: bool
    columns: Columns | None
    split_names: SplitNames | None
    image: ImageShape | None
    splits: Counts | None
    counts: ClassCounts | None
    mean: list[float] | None
    std: list[float] | None
    refused: list[Refused] | None
    duplicates: Duplicates | None
    sha256: str | None
    warnings: list[Warned]
    metadata: dict[str, str]

    @classmethod
    def of(cls, stored: StoredDataset) -> Self:
        row, task = stored
        return cls(
            id=row.id,
            created_at=row.created_at,
            name=row.name,
            status=readiness(Status(task.status)),
            error=Fault.of(task),
            file=row.file,
            parent=row.parent,
            labels_file=row.options.get("labels_file"),
            revision=row.revision,
            format=row.format,
            classes=row.classes,
            labelled=datasets.labelled(row),
            multi_label=row.multi_label,
            columns=row.options.get("columns"),
            split_names=row.options.get("split_names"),
            image=row.image,
            splits=row.splits,
            counts=row.counts,
            mean=row.mean,
            std=row.std,
            refused=row.refused,
            duplicates=row.duplicates,
            sha256=row.sha256,
            warnings=task.warnings,
            metadata=row.user_metadata,
        )


class Sample(Listed):
    """`name` is that of its file, null where it came in an array; `image` is a thumbnail, a PNG as a data URI; `label`
    is null where there is none.

    Of several, `label` is the one that is rarest in the dataset; `labels` has them all, and is null elsewhere.
    """

    object: Literal["sample"] = "sample"
    name: str | None
    split: Split
    label: str | None
    labels: list[str] | None
    image: str

    @classmethod
    def of(cls, sample: StoredSample, split: Split, classes: list[str] | None) -> Self:
        label = None if sample.label is None or classes is None else classes[sample.label]
        labels = None if sample.labels is None or classes is None else [classes[place] for place in sample.labels]
        id_ = f"sample_{sample.row}"
        return cls(id=id_, name=sample.name, split=split, label=label, labels=labels, image=sample.image)
