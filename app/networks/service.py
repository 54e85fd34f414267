"""Networks that can be named: published by the workers, listed without torch."""

import difflib
from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.contract import layers
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.core import errors
from app.core.errors import Detail
from app.db.paging import Page
from app.db.tables import Document, NetworkRow
from app.networks import repository

LARGEST_MEAN, LARGEST_STD = 1.0, 2.0  # of values from 0 to 1, the deviation with some room for unusual contracts


def publish(db: Session, entries: Sequence[Document]) -> None:
    """Replace the catalogue by `entries`: `{name, summary, input, options, pretrained}` each."""
    repository.replace(db, entries)


def page(db: Session, page: Page, contains: str | None) -> list[NetworkRow]:
    return repository.page(db, page, contains)


def find(db: Session, name: str, param: str) -> NetworkRow | None:
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
        Invalid: the catalogue has no such network, it takes no such options, or its `layers` cannot be built; `param`
            leads to the fault.
    """
    network = find(db, spec.name, f"{param}.name")
    if spec.name == layers.NAME:
        _check_layers(spec, input, f"{param}.options")
    elif network is not None:
        _check_options(network, spec, f"{param}.options")


def check_scale(input: InputSpec, param: str) -> None:
    """Refuse means and deviations of values from 0 to 255.

    Raises:
        Invalid: with the numbers that are meant.
    """
    if max(input.mean) <= LARGEST_MEAN and max(input.std) <= LARGEST_STD:
        return
    mean, std = ([round(value / 255, 4) for value in values] for values in (input.mean, input.std))
    message = f"Pixel values are scaled to 0…1 here, and these are numbers of 0…255: give mean {mean} and std {std}."
    raise errors.Invalid(message, param=f"{param}.mean" if max(input.mean) > LARGEST_MEAN else f"{param}.std")


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


def _check_layers(spec: NetworkSpec, input: InputSpec | None, param: str) -> None:
    try:
        layers.check(spec, input)
    except layers.Unbuildable as error:
        faults: list[Detail] = [
            {"param": f"{param}.{fault.param}", "detail": fault.detail, "code": errors.Invalid.code}
            for fault in error.faults
        ]
        raise errors.Invalid(faults[0]["detail"], param=faults[0]["param"], errors=faults) from None


def _check_options(network: NetworkRow, spec: NetworkSpec, param: str) -> None:
    """Check the names of a network's options; what they hold is for the network's builder to judge."""
    offered = network.options.get("properties", {})
    unknown = [] if network.options.get("additionalProperties", True) else sorted(spec.options.keys() - offered.keys())
    if unknown:
        has = ", ".join(offered) or "none"
        raise errors.Invalid(f"{spec.name} has no option {unknown[0]}; it has: {has}.", param=f"{param}.{unknown[0]}")
