"""The command `regraft`: the client's nouns, and the server.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 the service cannot be reached, 4 what was waited for did not succeed,
130 interrupted.
"""

import typer

from regraft.cli import (
    catalogue,
    checkpoints,
    datasets,
    files,
    jobs,
    keys,
    models,
    recommend,
    server,
    sweeps,
    tournaments,
)

app = typer.Typer(
    name="regraft",
    help="Graft a trained network onto a new domain.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for name, group in {
    "files": files.app,
    "checkpoints": checkpoints.app,
    "datasets": datasets.app,
    "jobs": jobs.app,
    "tournaments": tournaments.app,
    "sweeps": sweeps.app,
    "models": models.app,
    "keys": keys.app,
}.items():
    app.add_typer(group, name=name)
for command in (
    recommend.recommend,
    recommend.to_label,
    recommend.label,
    recommend.calibration,
    jobs.compare,
    models.predict,
    catalogue.methods,
    catalogue.networks,
):
    app.command()(command)
for command in (server.serve, server.api, server.worker, server.migrate, server.demo):
    app.command(rich_help_panel="Server")(command)


def main() -> None:
    app()
