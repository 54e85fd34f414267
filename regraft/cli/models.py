"""`regraft models` and `regraft predict`."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from regraft.cli.live import transfer
from regraft.cli.online import JUDGED, Column, Session, online
from regraft.cli.options import Cascade, Limit, document
from regraft.nouns.predicting import Shares
from regraft.types import Prediction

app = typer.Typer(help="What jobs have made.", no_args_is_help=True)

COLUMNS: list[Column] = [
    ("id", lambda model: model.id),
    ("job", lambda model: model.job),
    ("network", lambda model: model.network.name),
    ("classes", lambda model: model.classes and len(model.classes)),
    ("accuracy", lambda model: model.evaluation and f"{model.evaluation.target.accuracy:.1%}"),
    ("created", lambda model: f"{model.created_at:%Y-%m-%d %H:%M}"),
]
FIELDS: list[Column] = [
    *COLUMNS,
    ("mean average precision", lambda model: model.evaluation and model.evaluation.target.map),
    ("checkpoint", lambda model: model.checkpoint),
    ("dataset", lambda model: model.dataset),
    ("input", lambda model: model.input),
    ("parameters", lambda model: model.parameters and f"{model.parameters:,}"),
    ("sha256", lambda model: model.sha256),
    *JUDGED,
]


class Format(StrEnum):
    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    ADAPTER = "adapter"


class ExportFormat(StrEnum):
    """Formats that `models export` gives."""

    BUNDLE = "bundle"
    TIMM = "timm"
    TRITON = "triton"


@app.command("list")
@online
def list_(
    session: Session,
    method: Annotated[str | None, typer.Option(help="Those of this method alone.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Those from this source alone.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Those to this target alone.")] = None,
    limit: Limit = 20,
) -> None:
    """The newest models."""
    found = session.client.models.list(method=method, checkpoint=checkpoint, dataset=dataset, page_size=min(limit, 100))
    session.show_all(list(islice(found, limit)), COLUMNS)


@app.command()
@online
def get(session: Session, model: str) -> None:
    """One model; `--json` has the whole evaluation."""
    session.show(session.client.models.get(model), FIELDS)


@app.command()
@online
def recipe(session: Session, model: str) -> None:
    """The rule it was trained by, as JSON."""
    session.emit(session.client.models.recipe(model))


@app.command()
@online
def download(
    session: Session,
    model: str,
    to: Annotated[Path, typer.Argument(help="A file, or a folder.")] = Path(),
    format: Annotated[Format, typer.Option(help="Of the weights.")] = Format.SAFETENSORS,
) -> None:
    """Download weights; the file appears when it is whole and its digest is right."""
    fetch = partial(session.client.models.download, model, to, format=format.value)
    _fetched(session, f"Downloading {model}", fetch)


@app.command()
@online
def export(
    session: Session,
    model: str,
    to: Annotated[Path, typer.Argument(help="A file, or a folder.")] = Path(),
    format: Annotated[ExportFormat, typer.Option(help="Whose tool it is for.")] = ExportFormat.BUNDLE,
) -> None:
    """Download a model for others' tools: a folder that classifies by itself, for timm, for Triton."""
    fetch = partial(session.client.models.export, model, to, format=format.value)
    _fetched(session, f"Exporting {model}", fetch)


def _fetched(session: Session, what: str, fetch: Callable[..., Path]) -> None:
    with transfer(session.err, what) as progress:
        path = fetch(progress=progress)
    session.say(f"{path} ({path.stat().st_size:,} bytes)", {"path": str(path), "bytes": path.stat().st_size})


@app.command()
@online
def card(session: Session, model: str) -> None:
    """Print a model's card, in Markdown."""
    text = session.client.models.card(model)
    session.say(text, {"card": text})


@app.command()
@online
def report(
    session: Session,
    model: str,
    to: Annotated[Path, typer.Argument(help="The file to write.")] = Path("report.html"),
) -> None:
    """Write a model's report: figures, curves, where its weights come from; one HTML page."""
    to.write_text(session.client.models.report(model), encoding="utf-8")
    session.say(f"{to} ({to.stat().st_size:,} bytes)", {"path": str(to), "bytes": to.stat().st_size})


@app.command()
@online
def delete(session: Session, model: str, cascade: Cascade = False) -> None:
    """Delete a model."""
    session.client.models.delete(model, cascade=cascade)
    session.say(f"Deleted {model}.", {"id": model, "deleted": True})


@online
def predict(
    session: Session,
    of: Annotated[str, typer.Argument(metavar="MODEL|CHECKPOINT")],
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    top_k: Annotated[int | None, typer.Option(min=1, help="The likeliest classes of each.")] = None,
    priors: Annotated[
        str | None,
        typer.Option(
            metavar="estimate|JSON|@FILE",
            help="Correct for the classes' shares among the images: estimated from these, or given by class.",
        ),
    ] = None,
) -> None:
    """Classify images; `unusual` is the share of the validation images that are less so."""
    noun = session.client.checkpoints if of.startswith("ckpt_") else session.client.models
    shares: Shares | None = "estimate" if priors == "estimate" else document(priors)
    found = noun.predict(of, images, top_k=top_k, priors=shares)
    session.show_all(found, _columns(images))
    if found.priors is not None and not session.as_json:
        said = ", ".join(f"{label} {share:.1%}" for label, share in found.priors.shares.items())
        session.say(f"Corrected for these shares of the classes: {said}.", None)


def _columns(images: Sequence[Path]) -> list[Column]:
    return [
        ("image", lambda one: images[one.index].name),
        ("label", lambda one: one.label if one.labels is None else ", ".join(one.labels) or "none"),
        ("probability", lambda one: f"{one.probability:.1%}"),
        ("unusual", _unusual),
        ("top", _top),
    ]


def _unusual(one: Prediction) -> str:
    return "" if one.out_of_distribution is None else f"{one.out_of_distribution.quantile:.1%}"


def _top(one: Prediction) -> str:
    return ", ".join(f"{score.label} {score.probability:.1%}" for score in one.top)
