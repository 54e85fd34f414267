"""`regraft datasets`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from regraft.cli.files import by_id_or_path
from regraft.cli.online import WARNINGS, Column, Session, online
from regraft.cli.options import Cascade, Limit, Pairs, Status, Wait, pairs, parameters
from regraft.types import Dataset, Revision

app = typer.Typer(help="Images to adapt to.", no_args_is_help=True)

COLUMNS: list[Column] = [
    ("id", lambda one: one.id),
    ("name", lambda one: one.name),
    ("status", lambda one: one.status),
    ("format", lambda one: one.format),
    ("classes", lambda one: one.classes and len(one.classes)),
    ("train / validation / test", lambda one: one.splits and " / ".join(map(str, one.splits.values()))),
    ("created", lambda one: f"{one.created_at:%Y-%m-%d %H:%M}"),
]
FIELDS: list[Column] = [
    *COLUMNS,
    ("revision of", lambda one: one.parent),
    ("labels", lambda one: one.revision and _of_labels(one.revision)),
    ("labelled", lambda one: one.labelled),
    ("labels an image", lambda one: one.labelled and ("any number" if one.multi_label else 1)),
    ("image", lambda one: one.image),
    ("mean", lambda one: one.mean),
    ("std", lambda one: one.std),
    ("refused", lambda one: one.refused and [f"{bad.name}: {bad.reason}" for bad in one.refused[:10]]),
    ("the same pictures", lambda one: one.duplicates and one.duplicates["exact"]),
    ("similar ones across splits", lambda one: one.duplicates and one.duplicates["near"]),
    ("sha256", lambda one: one.sha256),
    ("error", lambda one: one.error and f"{one.error.message} ({one.error.code})"),
    WARNINGS,
]


@app.command()
@online
def create(
    session: Session,
    source: Annotated[
        str, typer.Argument(help="A folder or an archive to upload; with `--file`, the name of the dataset.")
    ],
    file: Annotated[str | None, typer.Option(help="A file's id, or a path to upload.")] = None,
    name: Annotated[str | None, typer.Option(help="The name of the dataset, if not that of what is uploaded.")] = None,
    format: Annotated[
        str, typer.Option(help="auto, folder, cifar10, cifar100, idx, npz, csv, parquet, webdataset.")
    ] = "auto",
    split: Annotated[
        list[str] | None, typer.Option(metavar="SPLIT=FRACTION", help="Where the archive brings none.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the splits.")] = None,
    labelled: Annotated[bool, typer.Option(help="Whether it has labels.")] = True,
    only_tests_labelled: Annotated[
        bool, typer.Option("--only-tests-labelled", help="Labels of the test split.")
    ] = False,
    column: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=NAME", help="Of a table: image, label or labels, split.")
    ] = None,
    split_name: Annotated[
        list[str] | None, typer.Option(metavar="SPLIT=NAME", help="What else a split is called.")
    ] = None,
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="In the order wanted; or a name for each number.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="fine or coarse, for CIFAR-100.")] = None,
    metadata: Pairs = None,
    wait: Wait = True,
) -> None:
    """Create a dataset from a folder or an archive of images."""
    created = session.client.datasets.create(
        name=name or (source if file else Path(source).resolve().stem),
        file=by_id_or_path(session, file or source),
        format=format,
        splits=parameters(split) or None,
        seed=seed,
        labelled="test" if only_tests_labelled else labelled,
        columns=pairs(column) or None,
        split_names=_gathered(split_name) or None,
        classes=class_,
        labels=labels,
        metadata=pairs(metadata),
    )
    session.show(_waited(session, created.id) if wait else created, FIELDS)


def _gathered(split_names: list[str] | None) -> dict[str, list[str]]:
    """The names of each split."""
    gathered: dict[str, list[str]] = {}
    for pair in split_names or ():
        [(split, name)] = (pairs([pair]) or {}).items()
        gathered.setdefault(split, []).append(name)
    return gathered


def _of_labels(revision: Revision) -> str:
    counts = [f"{getattr(revision, name):,} {name}" for name in ("added", "changed", "removed", "unchanged")]
    left_out = f"; {revision.unknown:,} of images that are not there" if revision.unknown else ""
    return ", ".join(counts) + left_out


@app.command()
@online
def revise(
    session: Session,
    dataset: str,
    labels: Annotated[
        str, typer.Argument(help="A table of images and labels (CSV, JSON, Label Studio's export), or a file's id.")
    ],
    name: Annotated[str | None, typer.Option(help="The name of the revision, if not that of the dataset.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=NAME", help="Of the table: image, label or labels.")
    ] = None,
    metadata: Pairs = None,
    wait: Wait = True,
) -> None:
    """Create a dataset of the same images, with labels added and corrected."""
    revised = session.client.datasets.revise(
        dataset,
        labels_file=by_id_or_path(session, labels),
        name=name,
        columns=pairs(column) or None,
        metadata=pairs(metadata),
    )
    session.show(_waited(session, revised.id) if wait else revised, FIELDS)


@app.command("list")
@online
def list_(session: Session, status: Status = None, limit: Limit = 20) -> None:
    """The newest datasets."""
    found = session.client.datasets.list(status=status, page_size=min(limit, 100))
    session.show_all(list(islice(found, limit)), COLUMNS)


@app.command()
@online
def get(session: Session, dataset: str) -> None:
    """One dataset."""
    session.show(session.client.datasets.get(dataset), FIELDS)


@app.command()
@online
def wait(session: Session, dataset: str) -> None:
    """Wait until it has been processed."""
    session.show(_waited(session, dataset), FIELDS)


@app.command()
@online
def delete(session: Session, dataset: str, cascade: Cascade = False) -> None:
    """Delete a dataset."""
    session.client.datasets.delete(dataset, cascade=cascade)
    session.say(f"Deleted {dataset}.", {"id": dataset, "deleted": True})


def _waited(session: Session, dataset: str) -> Dataset:
    with session.err.status("Processing the dataset"):
        return session.client.datasets.wait(dataset)
