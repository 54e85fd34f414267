"""The networks that this worker can build, for `GET /v1/networks`."""

from worker.networks.build import FAMILIES
from worker.networks.family import CatalogueEntry


def entries() -> list[CatalogueEntry]:
    """Takes a second or two; no network is built for it."""
    return [entry for family in FAMILIES for entry in family.entries()]
