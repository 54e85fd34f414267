"""`regraft files`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from regraft.cli.live import transfer
from regraft.cli.online import Column, Session, online
from regraft.cli.options import Cascade, Limit
from regraft.folders import Folder

app = typer.Typer(help="Uploaded files.", no_args_is_help=True)

COLUMNS: list[Column] = [
    ("id", lambda file: file.id),
    ("filename", lambda file: file.filename),
    ("bytes", lambda file: f"{file.bytes:,}"),
    ("sha256", lambda file: file.sha256[:12]),
    ("created", lambda file: f"{file.created_at:%Y-%m-%d %H:%M}"),
]


def upload(session: Session, path: Path) -> str:
    """The id of the file that `path`, a file or a folder, becomes, with a bar while it goes."""
    source = Folder.listed(path) if path.is_dir() else path
    if isinstance(source, Folder):
        session.err.print(str(source), highlight=False, markup=False)
    with transfer(session.err, f"Uploading {path.name}") as progress:
        return session.client.files.upload(source, progress=progress).id


def by_id_or_path(session: Session, named: str) -> str:
    """The id of a stored file; a path is uploaded first."""
    return named if named.startswith("file_") and not Path(named).exists() else upload(session, Path(named))


@app.command("upload")
@online
def upload_(session: Session, paths: Annotated[list[Path], typer.Argument(exists=True)]) -> None:
    """Upload files; large ones go in parts, folders as archives."""
    ids = [upload(session, path) for path in paths]
    session.show_all([session.client.files.get(file_id) for file_id in ids], COLUMNS)


@app.command("list")
@online
def list_(session: Session, limit: Limit = 20) -> None:
    """The newest files."""
    session.show_all(list(islice(session.client.files.list(page_size=min(limit, 100)), limit)), COLUMNS)


@app.command()
@online
def get(session: Session, file: str) -> None:
    """One file."""
    session.show(session.client.files.get(file), [*COLUMNS[:3], ("sha256", lambda one: one.sha256)])


@app.command()
@online
def delete(session: Session, file: str, cascade: Cascade = False) -> None:
    """Delete a file."""
    session.client.files.delete(file, cascade=cascade)
    session.say(f"Deleted {file}.", {"id": file, "deleted": True})
