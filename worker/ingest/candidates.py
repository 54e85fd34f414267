"""Candidates for a file of weights: a network as it would be built for its classes, channels and size."""

from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple, Self

from timm.models import get_arch_pretrained_cfgs
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.ingest import structural, weight_sets
from worker.ingest.adopt import HEADS
from worker.ingest.dialects.translation import Translation
from worker.ingest.shape_fit import Fit
from worker.networks import build, conventions, from_timm
from worker.networks.load import is_weight
from worker.networks.signatures import CLASSES
from worker.networks.structure import Structure
from worker.runtime.contract import Failure

CONTRASTED = {"query", "key", "base", "online", "target", "momentum"}  # encoders whose last layer is a projection
UNKNOWN_CLASSES = 1  # of a file without a head: something for a transfer to replace, as for weights that timm publishes


class BuiltCandidate(NamedTuple):
    """A candidate as it would be built for the file, without its weights."""

    fit: Fit
    network: NetworkSpec
    input: InputSpec
    module: nn.Module
    structure: Structure
    unconventional: bool  # it pads or normalises otherwise than the library whose names the file has

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.module.state_dict().items() if is_weight(name, tensor)}

    @classmethod
    def of(cls, fit: Fit, read: Translation, num_classes: int | None) -> Self | None:
        """The candidate for the classes, channels and size that the file tells; None where it cannot be built so."""
        spec = NetworkSpec(name=fit.signature.name, num_classes=CLASSES, options=dict(fit.signature.options))
        input = _input(fit, spec)
        if input is None:
            return None
        try:
            module = build.outline(spec, input)
            structure = Structure.of(module, input)
            classes = _classes(fit, read.tensors, module, structure) or num_classes or UNKNOWN_CLASSES
            spec = spec.model_copy(update={"num_classes": classes})
            module = build.outline(spec, input)
        except Failure:
            return None
        options = conventions.differing(read.conventions, module) if read.conventions else {}
        return cls(fit, spec, input, module, structure, bool(options))

    @property
    def has_its_names(self) -> bool:
        """Tell whether the file has the network's own names, its head's aside."""
        heads = tuple(f"{head}." for head in self.structure.heads)
        return all(name in self.fit.set.dims for name in self.weights if not name.startswith(heads))

    def out_of_order(self) -> str | None:
        """The reason why the weights are not the network's by their order and shapes; None where they are."""
        places = {name: tuple(tensor.shape) for name, tensor in self.weights.items()}
        try:
            structural.match(self.fit.set.dims, places)
        except structural.Unmatched as reason:
            return str(reason)
        return None

    @property
    def rarity(self) -> tuple[bool, bool, bool, int, int, str]:
        """The less, the more usual: the conventions of the file's library, the network's own size, torchvision before
        timm, more published weights, a shorter name."""
        name = self.network.name
        published = get_arch_pretrained_cfgs(name.removeprefix(from_timm.PREFIX)) if _is_timm(name) else {}
        other_size = self.fit.side is not None and self.fit.side != self.fit.signature.usual[2]
        return self.unconventional, other_size, _is_timm(name), -len(published), len(name), name


def _input(fit: Fit, spec: NetworkSpec) -> InputSpec | None:
    """The usual input, for the channels and the size that the file tells."""
    usual = build.usual_input(spec)
    if usual is None:
        return None
    update: dict[str, object] = {}
    if fit.channels is not None and fit.channels != usual.channels:
        mean, std = ((fmean(values),) * fit.channels for values in (usual.mean, usual.std))
        update = {"channels": fit.channels, "mean": mean, "std": std}
    if fit.side is not None and fit.side != usual.size[0]:
        update["size"] = (fit.side, fit.side)
    try:
        return InputSpec.model_validate(usual.model_dump() | update)
    except ValueError:
        return None


def _classes(fit: Fit, tensors: Mapping[str, Tensor], module: nn.Module, structure: Structure) -> int | None:
    """The number of classes of the head in the file: by its name, by its shape, or of the one layer elsewhere in the
    file that is called a head and is as wide."""
    weight = f"{structure.head}.weight"
    if weight_sets.label(fit.set.prefix) in CONTRASTED:
        return None
    if weight in fit.set.dims:
        return fit.set.dims[weight][0]
    if fit.num_classes is not None:
        return fit.num_classes
    width = module.get_parameter(weight).shape[1]
    layers: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        root = _head_root(name)
        if root and name.endswith(".weight") and not name.startswith(fit.set.prefix or "\0"):
            layers.setdefault(root, []).append(tensor.shape[0] if tensor.shape[1:2] == (width,) else 0)
    found = [classes[0] for classes in layers.values() if len(classes) == 1 and classes[0]]
    return found[0] if len(found) == 1 else None


def _head_root(name: str) -> str | None:
    """The path of what is called a head, above a weight: a single layer is one, several are a projection."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part in HEADS), None)
    return None if at is None else ".".join(parts[: at + 1])


def _is_timm(name: str) -> bool:
    return name.startswith(from_timm.PREFIX)
