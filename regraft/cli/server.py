"""`regraft serve`, and its parts apart: `api`, `worker`, `migrate`."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from regraft import processes
from regraft.cli.online import reported

Home = Annotated[Path | None, typer.Option(help="The data folder; REGRAFT_HOME, else `data`.")]
Host = Annotated[str | None, typer.Option(help="Where to listen; REGRAFT_HOST, else 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="REGRAFT_PORT, else 8000.")]


def serve(
    home: Annotated[Path, typer.Option(envvar="REGRAFT_HOME", help="The data folder.")] = Path("data"),
    port: Annotated[int, typer.Option(envvar="REGRAFT_PORT", min=0, max=65535, help="0: any free one.")] = 8000,
    host: Annotated[str, typer.Option(envvar="REGRAFT_HOST", help="Where to listen.")] = "127.0.0.1",
) -> None:
    """API, worker and prediction on this machine.  Ctrl-C stops all; a running job goes on at the next start."""
    os.umask(0o077)  # what it writes into the data folder is for nobody else
    server = processes.Server(home, host=host, port=port)
    with reported(), processes.until_signalled() as wanted, server:
        typer.echo(f"Regraft answers at {server.url} (OpenAPI page: {server.url}/docs).")
        typer.echo(f"Open it, and sign in with the first key, which is in {server.key_file}. Ctrl-C stops.")
        server.watch(wanted)
        typer.echo("Stopping.")


def api(home: Home = None, host: Host = None, port: Port = None) -> None:
    """The API alone, on a migrated database."""
    with reported():
        processes.replace_by(processes.MODULES["api"], processes.environment(home=home, host=host, port=port))


def worker(home: Home = None) -> None:
    """A worker alone; as many as you like may share a database."""
    with reported():
        processes.replace_by(processes.MODULES["worker"], processes.environment(home=home))


def migrate(home: Home = None) -> None:
    """Bring the database to the newest schema."""
    with reported():
        processes.replace_by(processes.MIGRATIONS, processes.environment(home=home))


def demo(
    home: Annotated[Path, typer.Option(help="The data folder; a second run adds to it.")] = Path("demo-data"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running afterwards, until Ctrl-C.")] = False,
) -> None:
    """MNIST digits to optdigits over HTTP: source, scratch, linear probe and fine-tuning side by side."""
    with reported():
        from regraft.demo import story  # needs the extra `demo`

        story.run(home, port=port, keep=keep, console=Console())
