"""Options that several commands share, and how their values are read."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Limit = Annotated[int, typer.Option("--limit", min=1, help="How many to show.")]
Cascade = Annotated[bool, typer.Option("--cascade", help="Delete what depends on it as well.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has been processed.")]
Status = Annotated[str | None, typer.Option("--status", help="Those of this status alone.")]
Name = Annotated[str | None, typer.Option("--name", help="A name of your own.")]
Pairs = Annotated[list[str] | None, typer.Option("--metadata", metavar="NAME=VALUE", help="May be repeated.")]


def document(value: str | None) -> Any:
    """JSON as it is given, or from the file after `@`.

    Raises:
        typer.BadParameter: it is no JSON, or there is no such file.
    """
    if value is None:
        return None
    try:
        return json.loads(Path(value[1:]).read_text() if value.startswith("@") else value)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{value!r}: {error}") from error


def pairs(values: list[str] | None) -> dict[str, str] | None:
    """`NAME=VALUE`, each.

    Raises:
        typer.BadParameter: one has no `=`.
    """
    return dict(_pair(value) for value in values) if values else None


def parameters(values: list[str] | None) -> dict[str, Any]:
    """`NAME=VALUE`, each; a value that is JSON is read as such, anything else is text."""
    return {name: _value(value) for name, value in map(_pair, values or [])}


def _pair(value: str) -> tuple[str, str]:
    name, separator, rest = value.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"{value!r} is not NAME=VALUE")
    return name, rest


def _value(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
