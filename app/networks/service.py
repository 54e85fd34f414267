"""What networks can be named: published by the workers, listed without torch."""

import difflib
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.core import errors
from app.db.paging import Page
from app.db.tables import Document, Network
from app.methods.inputs import InputSpec
from app.methods.networks import NetworkSpec
from app.networks import repository


def publish(db: Session, entries: Sequence[Document]) -> None:
    """Replace the catalogue by `entries`: `{name, summary, input, options, pretrained}` each."""
    repository.replace(db, entries)


def page(db: Session, page: Page, contains: str | None) -> list[Network]:
    return repository.page(db, page, contains)


def find(db: Session, name: str, param: str) -> Network | None:
    """The catalogue's entry; None as long as no worker has published a catalogue.

    Raises:
        Invalid: the catalogue has no such network.
    """
    network = repository.get(db, name)
    if network is None and (names := repository.names(db)):
        near = difflib.get_close_matches(name, names, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else " GET /v1/networks lists them."
        raise errors.Invalid(f"There is no network {name}.{hint}", param=param)
    return network


def check(db: Session, spec: NetworkSpec, input: InputSpec | None, param: str) -> None:
    """Refuse at once what no worker could build.

    Raises:
        Invalid: the catalogue has no such network, or its `layers` cannot be built; `param` leads to the fault.
    """
    find(db, spec.name, f"{param}.name")


def check_pretrained(db: Session, pretrained: str) -> None:
    """
    Raises:
        Invalid: the catalogue has no such network, or no such weights of it.
    """
    name, _, weights = pretrained.partition(":")
    network = find(db, name, "pretrained")
    if network is not None and weights and weights not in network.pretrained:
        offered = ", ".join(network.pretrained) or "none"
        raise errors.Invalid(f"{name} has no weights {weights}; it has: {offered}.", param="pretrained")
