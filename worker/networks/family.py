"""The protocol of network families: a module each, that answers for the names it knows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict

from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec


class CatalogueEntry(TypedDict):
    """A line of `GET /v1/networks`: `input` is the usual contract, `options` a JSON Schema."""

    name: str
    summary: str
    input: dict[str, object] | None
    options: dict[str, object]
    pretrained: list[str]


class Family(Protocol):
    """Networks of one origin."""

    def knows(self, name: str) -> bool: ...

    def build(self, spec: NetworkSpec, input: InputSpec) -> nn.Module:
        """The network, newly drawn from PyTorch's global generator.

        Raises:
            ValueError, or what the library raises: it cannot be built so.
        """

    def usual_input(self, spec: NetworkSpec) -> InputSpec | None:
        """The input that such a network commonly takes; None where it has no habit."""

    def entries(self) -> Iterator[CatalogueEntry]:
        """Entries of the catalogue; no network is built for it."""


def entry(
    name: str,
    summary: str,
    *,
    input: InputSpec | None = None,
    options: Mapping[str, Any] | None = None,
    pretrained: Sequence[str] = (),
) -> CatalogueEntry:
    """An entry of the catalogue; without `options` the network takes none."""
    return {
        "name": name,
        "summary": summary,
        "input": None if input is None else input.model_dump(mode="json"),
        "options": dict(options or {"type": "object", "properties": {}, "additionalProperties": False}),
        "pretrained": list(pretrained),
    }


def refuse_options(spec: NetworkSpec) -> None:
    if spec.options:
        raise ValueError(f"{spec.name} takes no options, but was given {', '.join(spec.options)}")
