"""`grafted`: another network's features under a head that was fitted (`heads`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from app.contract import grafted as graft
from app.contract.grafted import GraftedOptions
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks import heads
from worker.networks.family import CatalogueEntry, entry
from worker.networks.heads import Head
from worker.networks.structure import Structure

BACKBONE, HEAD = "backbone", "head"


class Grafted(nn.Module):
    """`backbone` is a whole network: its own head is there, but nobody asks it."""

    def __init__(self, backbone: nn.Module, structure: Structure, head: Head) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self._structure = structure

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(self._structure.extract(self.backbone, x_BCHW))
        return logits_BK

    @property
    def structure(self) -> Structure:
        """The backbone's stages under the new head."""
        stages = tuple(tuple(f"{BACKBONE}.{path}" for path in stage) for stage in self._structure.stages)
        return Structure((HEAD,), stages, self._structure.features, separable=True)


@dataclass(frozen=True)
class GraftedFamily:
    """The networks named `grafted`; the functions build the network within, of any family, and say what it takes."""

    build_backbone: Callable[[NetworkSpec, InputSpec], nn.Module]
    backbone_input: Callable[[NetworkSpec], InputSpec | None]

    def knows(self, name: str) -> bool:
        return name == graft.NAME

    def build(self, spec: NetworkSpec, input: InputSpec) -> nn.Module:
        options = GraftedOptions.model_validate(spec.options)
        backbone = self.build_backbone(options.backbone, input)
        structure = Structure.of(backbone, input)
        return Grafted(backbone, structure, heads.build(options.head, structure.features, spec.num_classes))

    def usual_input(self, spec: NetworkSpec) -> InputSpec | None:
        return self.backbone_input(graft.backbone(spec))

    def entries(self) -> Iterator[CatalogueEntry]:
        yield entry(
            graft.NAME,
            "Another network's features under a fitted head: linear, RBF kernel, forest, nearest neighbours.",
            options=GraftedOptions.model_json_schema(),
        )
