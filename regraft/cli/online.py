"""Commands that talk to the service have these in common: connection options, `--json`, errors, exit codes."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, NoReturn, ParamSpec

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from regraft import errors
from regraft.client import Client
from regraft.processes import KEY_FILE, URL_FILE

P = ParamSpec("P")

REFUSED, UNREACHABLE, UNSUCCESSFUL, INTERRUPTED = 1, 3, 4, 130
PANEL = "Connection and output"

Url = Annotated[str | None, typer.Option("--url", envvar="REGRAFT_URL", help="The service.", rich_help_panel=PANEL)]
Key = Annotated[str | None, typer.Option("--key", envvar="REGRAFT_KEY", help="The API key.", rich_help_panel=PANEL)]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="REGRAFT_HOME",
        help="A server's data folder on this machine: its address and first key are read from there.",
        rich_help_panel=PANEL,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.", rich_help_panel=PANEL)]
_COMMON = {"at_url": (Url, None), "with_key": (Key, None), "at_home": (Home, None), "as_json": (AsJson, False)}

Column = tuple[str, Callable[[Any], object]]


def _warnings(record: Any) -> str | None:
    return "\n".join(f"{warning.message} ({warning.code})" for warning in record.warnings) or None


def _guard(record: Any) -> Any:
    return record.evaluation and record.evaluation.guard


WARNINGS: Column = ("warnings", _warnings)
JUDGED: list[Column] = [  # of jobs and models
    ("verdict", lambda record: (guard := _guard(record)) and guard.verdict),
    ("regressions against", lambda record: (guard := _guard(record)) and guard.regressions),
    WARNINGS,
]


@dataclass(frozen=True)
class Session:
    """A connected command: results go to `out`, everything else to `err`."""

    client: Client
    as_json: bool
    out: Console
    err: Console

    def show(self, record: BaseModel, fields: Sequence[Column]) -> None:
        """One object, as a list of its fields."""
        if self.as_json:
            self.emit(record.model_dump(mode="json"))
            return
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="bold")
        for name, read in fields:
            table.add_row(name, text(read(record)))
        self.out.print(table)

    def show_all(self, records: Sequence[BaseModel], columns: Sequence[Column]) -> None:
        """A table of objects."""
        if self.as_json:
            self.emit([record.model_dump(mode="json") for record in records])
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name, _ in columns:
            table.add_column(name, no_wrap=name == "id")
        for record in records:
            table.add_row(*(text(read(record)) for _, read in columns))
        self.out.print(table)

    def show_beside(self, records: Mapping[str, BaseModel], fields: Sequence[Column]) -> None:
        """Objects beside each other, a column each under its heading; a field that none of them has is left out."""
        if self.as_json:
            self.emit([record.model_dump(mode="json") for record in records.values()])
            return
        table = Table("", *records, box=None, pad_edge=False, header_style="bold")
        for name, read in fields:
            values = [read(record) for record in records.values()]
            if any(value is not None for value in values):
                table.add_row(f"[bold]{escape(name)}[/bold]", *map(text, values))
        self.out.print(table)

    def say(self, sentence: str, document: Any) -> None:
        """A sentence, or with `--json` the document."""
        if self.as_json:
            self.emit(document)
        else:
            self.out.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def emit(self, document: Any) -> None:
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def online(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """A command of the same options, and the common ones; its `Session` is opened from these."""
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in list(signature.parameters.values())[1:]
    ]
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _COMMON.items()
    ]

    def run(**options: Any) -> None:
        url, key, home, as_json = (options.pop(name) for name in _COMMON)
        with reported(as_json=as_json):
            url, key = connection(url, key, home)
            with Client(url, key=key) as client:
                out, err = Console(soft_wrap=True), Console(stderr=True)
                command(Session(client, as_json, out, err), **options)  # type: ignore[call-arg]

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    vars(run)["__signature__"] = inspect.Signature([*own, *common])
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *common]}
    return run


def connection(url: str | None, key: str | None, home: Path | None) -> tuple[str | None, str | None]:
    """The service's URL and key; what is not given is read from the data folder, where one is named."""
    return url or _written(home, URL_FILE), key or _written(home, KEY_FILE)


@contextmanager
def reported(*, as_json: bool = False) -> Iterator[None]:
    """Failures become a message on standard error and an exit code, never a traceback."""
    try:
        yield
    except errors.ApiError as error:
        _end(REFUSED, str(error), error.problem if as_json else None)
    except errors.Unreachable as error:
        _end(UNREACHABLE, f"{error}; is the service running?")
    except errors.Unsuccessful as error:
        _end(UNSUCCESSFUL, str(error), error.result.model_dump(mode="json") if as_json else None)
    except (errors.RegraftError, OSError, ValueError) as error:
        _end(REFUSED, str(error))
    except KeyboardInterrupt:
        _end(INTERRUPTED, "Interrupted.")


def text(value: object) -> str:
    """A cell of a table."""
    match value:
        case None:
            return "–"
        case float():
            return f"{value:.4g}"
        case [] | ():
            return "none"
        case list() | tuple():
            return ", ".join(text(part) for part in value)
        case dict():
            return ", ".join(f"{name} {text(part)}" for name, part in value.items())
        case BaseModel():
            return text(value.model_dump(mode="json"))
    return str(value)


def _written(home: Path | None, name: str) -> str | None:
    if home is None:
        return None
    try:
        return (home / name).read_text().strip()
    except FileNotFoundError:
        return None


def _end(code: int, message: str, document: dict[str, object] | None = None) -> NoReturn:
    line = json.dumps(document, ensure_ascii=False) if document else f"regraft: {message}"
    typer.echo(line, err=True)
    raise typer.Exit(code)
