"""Datasets: images with labels, ingested from an uploaded archive."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from regraft import errors
from regraft.nouns.base import D, Noun, given, waiting
from regraft.nouns.files import Source, uploaded
from regraft.nouns.label_lists import Label, listed
from regraft.steps import Steps, Stream, call, items
from regraft.types import Dataset, Event


class Datasets(Noun[D]):
    @call
    def create(
        self,
        source: Source | None = None,
        *,
        name: str | None = None,
        file: str | None = None,
        format: str = "auto",
        splits: Mapping[str, float] | None = None,
        seed: int | None = None,
        labelled: bool | Literal["test"] | None = None,
        columns: Mapping[str, str] | None = None,
        split_names: Mapping[str, Sequence[str]] | None = None,
        classes: Sequence[str] | None = None,
        labels: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Dataset]:
        """Makes a dataset of `source`, a folder or an archive that is uploaded first, or of an uploaded `file`; its
        name is that of the source, unless given.  `splits` gives the fractions for those that the archive does not
        bring; `labels` is `"fine"` or `"coarse"` (CIFAR-100); `labelled` `"test"` takes labels of the test split alone.
        `columns` says which columns of a table have what (image, label or labels, split), `split_names` what else
        splits are called, `classes` their order, or the names of labels that are numbers.  Processed in the background:
        `wait`; a job that names it may be created at once."""
        if (source is None) == (file is None):
            raise ValueError("Give `source`, a folder or an archive, or `file`, the id of an uploaded file.")
        if source is not None:
            stored = yield from uploaded(self._send, source)
            file, name = stored.id, name or Path(stored.filename).stem
        body = {
            "name": name,
            "file": file,
            "format": format,
            "splits": splits,
            "seed": seed,
            "labelled": labelled,
            "columns": columns,
            "split_names": split_names,
            "classes": classes,
            "labels": labels,
            "metadata": metadata,
        }
        return (yield from self._post("/v1/datasets", Dataset, given(body), idempotency_key))

    @call
    def revise(
        self,
        dataset: str,
        labels: Source | Mapping[str, Label] | None = None,
        *,
        labels_file: str | None = None,
        name: str | None = None,
        columns: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Dataset]:
        """Makes a new dataset of the images of `dataset`, with labels that are added and corrected: by a table that
        names images, `labels` that are uploaded first or the uploaded `labels_file`; or by labels by image
        (a list of labels where an image may have several, None for none).  An image is called by its file's name, or by
        the id of its sample; what is not named keeps its label.  `columns` are those of the table.  Processed in the
        background: `wait`; `revision` then says what has changed."""
        if (labels is None) == (labels_file is None):
            raise ValueError("Give `labels`, a table or labels by image, or `labels_file`, an uploaded file.")
        said = labels_file if labels is None else (yield from listed(self._send, labels))
        body = given({"labels": said, "name": name, "columns": columns, "metadata": metadata})
        return (yield from self._post(f"/v1/datasets/{dataset}/revisions", Dataset, body, idempotency_key))

    @call
    def get(self, dataset: str) -> Steps[Dataset]:
        return (yield from self._one(dataset))

    @call
    def wait(self, dataset: str, *, timeout_s: float | None = None) -> Steps[Dataset]:
        """Wait until the dataset is ready.  Raises `Unsuccessful` where its processing failed, and `WaitTimeout`."""
        found = yield from waiting(
            partial(self._one, dataset), lambda one: one.status != "processing", timeout_s=timeout_s
        )
        if found.status != "ready":
            raise errors.Unsuccessful(found)
        return found

    @call
    def samples(self, dataset: str, *, split: str | None = None, limit: int | None = None) -> Steps[dict[str, object]]:
        """Thumbnails with their labels."""
        params = given({"split": split, "limit": limit})
        return (yield from self._document(f"/v1/datasets/{dataset}/samples", params))

    @call
    def delete(self, dataset: str, *, cascade: bool = False) -> Steps[None]:
        yield from self._delete(f"/v1/datasets/{dataset}", cascade=cascade)

    @items
    def events(self, dataset: str, *, order: str = "asc", page_size: int = 100) -> Stream[Event]:
        """List what has happened to the dataset so far."""
        yield from self._pages(f"/v1/datasets/{dataset}/events", Event, {"order": order}, page_size)

    @items
    def list(self, *, status: str | None = None, order: str = "desc", page_size: int = 100) -> Stream[Dataset]:
        """All datasets, page after page."""
        yield from self._pages("/v1/datasets", Dataset, {"status": status, "order": order}, page_size)

    def _one(self, dataset: str) -> Steps[Dataset]:
        return (yield from self._fetch(f"/v1/datasets/{dataset}", Dataset))
