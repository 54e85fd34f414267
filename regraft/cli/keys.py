"""`regraft keys`."""

from typing import Annotated

import typer

from regraft.cli.online import Column, Session, online

app = typer.Typer(help="API keys.", no_args_is_help=True)

COLUMNS: list[Column] = [
    ("id", lambda key: key.id),
    ("name", lambda key: key.name),
    ("scopes", lambda key: key.scopes),
    ("created", lambda key: f"{key.created_at:%Y-%m-%d %H:%M}"),
]


@app.command()
@online
def create(
    session: Session,
    name: str,
    scope: Annotated[list[str] | None, typer.Option(help="read, write, predict, admin; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose objects it sees; yours, unless given.")] = None,
) -> None:
    """Make a key; it is shown this once."""
    made = session.client.keys.create(name=name, scopes=scope, owner=owner)
    session.show(made, [*COLUMNS, ("key", lambda key: key.key)])


@app.command("list")
@online
def list_(session: Session) -> None:
    """All keys, without their secrets."""
    session.show_all(list(session.client.keys.list()), COLUMNS)


@app.command()
@online
def delete(session: Session, key: str) -> None:
    """Revoke a key, at once."""
    session.client.keys.delete(key)
    session.say(f"Revoked {key}.", {"id": key, "deleted": True})
