"""`regraft methods` and `regraft networks`."""

from regraft.cli.online import Column, Session, online

METHODS: list[Column] = [
    ("name", lambda method: method.name),
    ("summary", lambda method: getattr(method, "summary", None)),
    ("needs", lambda method: getattr(method, "needs", None)),
    ("when", lambda method: getattr(method, "when", None)),
]
NETWORKS: list[Column] = [
    ("name", lambda network: network.name),
    ("summary", lambda network: getattr(network, "summary", None)),
]


@online
def methods(session: Session) -> None:
    """List the methods that a job can name; `--json` has the schema of every method's parameters."""
    session.show_all(list(session.client.methods.list()), METHODS)


@online
def networks(session: Session) -> None:
    """List the networks that a checkpoint can name."""
    session.show_all(list(session.client.networks.list()), NETWORKS)
