"""`grafted`: another network's features under a head that was fitted (`heads`)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from app.methods import grafted as graft
from app.methods.grafted import GraftedOptions
from app.methods.inputs import InputSpec
from app.methods.networks import NetworkSpec

# these two import us in their turn: a network within a network; nothing of them is used before the first call
from worker.networks import anatomy, heads
from worker.networks import build as networks
from worker.networks.family import Entry, entry
from worker.networks.heads import Head

if TYPE_CHECKING:
    from worker.networks.anatomy import Anatomy

BACKBONE, HEAD = "backbone", "head"


class Grafted(nn.Module):
    """`backbone` is a whole network: its own head is there, but nobody asks it."""

    def __init__(self, backbone: nn.Module, structure: "Anatomy", head: Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self._structure = structure

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(anatomy.features(self.backbone, self._structure, x_BCHW))
        return logits_BK

    @property
    def anatomy(self) -> "Anatomy":
        """The backbone's stages under the new head."""
        stages = tuple(tuple(f"{BACKBONE}.{path}" for path in stage) for stage in self._structure.stages)
        return anatomy.Anatomy((HEAD,), stages, self._structure.features, separable=True)


def knows(name: str) -> bool:
    return name == graft.NAME


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    options = GraftedOptions.model_validate(spec.options)
    backbone = networks.build(options.backbone, input)
    structure = anatomy.study(backbone, input)
    return Grafted(backbone, structure, heads.build(options.head, structure.features, spec.num_classes))


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    return networks.usual_input(graft.backbone(spec))


def entries() -> Iterator[Entry]:
    yield entry(
        graft.NAME,
        "Another network's features under a fitted head: linear, RBF kernel, forest, nearest neighbours.",
        options=GraftedOptions.model_json_schema(),
    )
