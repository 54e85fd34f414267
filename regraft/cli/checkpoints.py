"""`regraft checkpoints`."""

from itertools import islice
from typing import Annotated, Any

import typer

from regraft.cli.files import by_id_or_path
from regraft.cli.online import WARNINGS, Column, Session, online
from regraft.cli.options import Cascade, Limit, Pairs, Status, Wait, document, pairs
from regraft.types import Checkpoint

app = typer.Typer(help="Trained weights to start from.", no_args_is_help=True)

COLUMNS: list[Column] = [
    ("id", lambda one: one.id),
    ("name", lambda one: one.name),
    ("status", lambda one: one.status),
    ("network", lambda one: one.network and one.network.name),
    ("classes", lambda one: one.classes and len(one.classes)),
    ("parameters", lambda one: one.parameters and f"{one.parameters:,}"),
    ("created", lambda one: f"{one.created_at:%Y-%m-%d %H:%M}"),
]
FIELDS: list[Column] = [
    *COLUMNS,
    ("input", lambda one: one.input),
    ("sha256", lambda one: one.sha256),
    ("report", lambda one: one.report and {name: len(part) for name, part in one.report.model_dump().items()}),
    ("error", lambda one: one.error and f"{one.error.message} ({one.error.code})"),
    WARNINGS,
]

LABELLED = "A labelled dataset, which decides between networks that the file fits alike."
IDENTIFIED: list[Column] = [
    ("file", lambda one: one.file),
    ("told by", lambda one: one.rule or "nothing: these are the nearest"),
    ("candidates", lambda one: "\n".join(map(_candidate, one.candidates or ()))),
    ("measured on", lambda one: one.measured and _asked(one.measured)),
    WARNINGS,
]


@app.command()
@online
def create(
    session: Session,
    name: str,
    file: Annotated[str | None, typer.Option(help="A file's id, or a path to upload.")] = None,
    network: Annotated[
        str | None, typer.Option(help="Its network, as `regraft networks` lists them; left out, it is recognised.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Of the network.")] = None,
    options: Annotated[str | None, typer.Option(help="Of the network: JSON, or @file.")] = None,
    input: Annotated[str | None, typer.Option(help="Its input contract: JSON, or @file.")] = None,
    classes: Annotated[str | None, typer.Option(help="Class names, separated by commas.")] = None,
    recipe: Annotated[str | None, typer.Option(help="The rule it was trained by: JSON, or @file.")] = None,
    multi_label: Annotated[bool, typer.Option(help="An image has any number of the classes.")] = False,
    weights: Annotated[str | None, typer.Option(help="Of several sets in the file: ema, raw, teacher …")] = None,
    mapping: Annotated[str | None, typer.Option(help="The network's names of tensors: JSON, or @file.")] = None,
    dataset: Annotated[str | None, typer.Option(help=LABELLED)] = None,
    pretrained: Annotated[str | None, typer.Option(help="Such as torchvision/resnet18:IMAGENET1K_V1.")] = None,
    model: Annotated[str | None, typer.Option(help="A model to promote.")] = None,
    metadata: Pairs = None,
    wait: Wait = True,
) -> None:
    """Create a checkpoint from a file of weights and its network, from published weights, or from a model."""
    created = session.client.checkpoints.create(
        name=name,
        file=by_id_or_path(session, file) if file else None,
        network=_network(network, num_classes, options),
        input=document(input),
        classes=classes.split(",") if classes else None,
        recipe=document(recipe),
        multi_label=multi_label or None,
        weights=weights,
        mapping=document(mapping),
        dataset=dataset,
        pretrained=pretrained,
        model=model,
        metadata=pairs(metadata),
    )
    session.show(_waited(session, created.id) if wait else created, FIELDS)


@app.command()
@online
def identify(
    session: Session,
    file: Annotated[str, typer.Argument(help="A file's id, or a path to upload.")],
    dataset: Annotated[str | None, typer.Option(help=LABELLED)] = None,
    input: Annotated[str | None, typer.Option(help="Its input contract: JSON, or @file.")] = None,
    classes: Annotated[str | None, typer.Option(help="Class names, separated by commas.")] = None,
) -> None:
    """Say which network the weights in a file are of; `--json` has how well each candidate fits."""
    stored = by_id_or_path(session, file)
    with session.err.status("Comparing with all networks"):
        found = session.client.checkpoints.identify(
            stored, dataset=dataset, input=document(input), classes=classes.split(",") if classes else None
        )
    session.show(found, IDENTIFIED)


@app.command("list")
@online
def list_(session: Session, status: Status = None, limit: Limit = 20) -> None:
    """The newest checkpoints."""
    found = session.client.checkpoints.list(status=status, page_size=min(limit, 100))
    session.show_all(list(islice(found, limit)), COLUMNS)


@app.command()
@online
def get(session: Session, checkpoint: str) -> None:
    """One checkpoint; `--json` has the report on every tensor."""
    session.show(session.client.checkpoints.get(checkpoint), FIELDS)


@app.command()
@online
def recipe(session: Session, checkpoint: str) -> None:
    """The rule it was trained by, as JSON."""
    session.emit(session.client.checkpoints.recipe(checkpoint))


@app.command()
@online
def wait(session: Session, checkpoint: str) -> None:
    """Wait until it has been processed."""
    session.show(_waited(session, checkpoint), FIELDS)


@app.command()
@online
def delete(session: Session, checkpoint: str, cascade: Cascade = False) -> None:
    """Delete a checkpoint."""
    session.client.checkpoints.delete(checkpoint, cascade=cascade)
    session.say(f"Deleted {checkpoint}.", {"id": checkpoint, "deleted": True})


def _candidate(candidate: dict[str, Any]) -> str:
    network = candidate["network"]
    options = "".join(f" {name}={value}" for name, value in network["options"].items())
    right = f", right on {candidate['accuracy']:.1%}" if "accuracy" in candidate else ""
    return f"{network['name']}{options}, {network['num_classes']} classes: fit {candidate['fit']:.0%}{right}"


def _asked(measured: dict[str, Any]) -> str:
    images = ", ".join(f"{count} {split}" for split, count in measured["images"].items())
    return f"{measured['dataset']}: {images} images, {'decided' if measured['decided'] else 'not decided'}"


def _waited(session: Session, checkpoint: str) -> Checkpoint:
    with session.err.status("Processing the checkpoint"):
        return session.client.checkpoints.wait(checkpoint)


def _network(name: str | None, num_classes: int | None, options: str | None) -> dict[str, object] | None:
    if name is None:
        return None
    if num_classes is None:
        raise typer.BadParameter("--network needs --num-classes")
    return {"name": name, "num_classes": num_classes, "options": document(options) or {}}
