"""A network together with what is to be known of it, and what it gives for images."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from worker.data import inputs
from worker.networks.structure import Structure


@dataclass(frozen=True)
class Outputs:
    """Outputs of one forward pass: logits [B,K], what the heads saw [B,D], and what watched modules gave, by path."""

    logits_BK: Tensor
    features_BD: Tensor
    watched: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Classifier:
    """A network that gives one score a class; `input` is what images it takes.

    `classes` are its outputs by name, None where nobody has named them.
    """

    module: nn.Module
    structure: Structure
    input: InputSpec
    classes: list[str] | None

    @property
    def ends(self) -> list[str]:
        """Paths of the modules at which its stages end, in order of execution."""
        return self.structure.ends

    def forward(self, x_BCHW: Tensor, watch: Sequence[str] = ()) -> Outputs:
        """Outputs for images as the network takes them; `watch` are paths of modules that are watched."""
        with watching(self.module, watch) as watched:
            logits_BK, features_BD = self.structure.forward(self.module, x_BCHW)
        return Outputs(logits_BK, features_BD, watched)

    def forward_frozen(self, x_BCHW: Tensor, of: InputSpec, watch: Sequence[str] = ()) -> Outputs:
        """Outputs without gradients, for images that were prepared as `of` says."""
        with torch.no_grad():
            return self.forward(inputs.converted(x_BCHW, of, self.input), watch)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Features [B,D] of images: what the heads see of them."""
        return self.structure.extract(self.module, x_BCHW)


@contextmanager
def watching(network: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within, the outputs of the modules at `paths`, as they were executed last."""
    outputs: dict[str, Tensor] = {}

    def keep(path: str) -> torch.utils.hooks.RemovableHandle:
        return network.get_submodule(path).register_forward_hook(
            lambda module, inputs, output: outputs.update({path: output})
        )

    hooks = [keep(path) for path in paths]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
