"""Networks that other packages bring, by entry points of the group `regraft.networks`.

An entry point is a function of (num_classes, input: InputSpec, **options) that gives an nn.Module from images
[B,C,H,W] to class scores [B,K]; it goes by the entry point's name.
"""

from collections.abc import Iterator
from importlib.metadata import entry_points

from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks.family import CatalogueEntry, entry

GROUP = "regraft.networks"


def knows(name: str) -> bool:
    return bool(entry_points(group=GROUP, name=name))


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    [plugin] = entry_points(group=GROUP, name=spec.name)
    network: nn.Module = plugin.load()(spec.num_classes, input, **spec.options)
    return network


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    return None


def entries() -> Iterator[CatalogueEntry]:
    for plugin in entry_points(group=GROUP):
        yield entry(plugin.name, f"A plug-in: {plugin.value}.", options={"type": "object"})
