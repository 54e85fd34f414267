"""`torchvision/<name>`: the classifiers of torchvision.models, as they are there.

No surgery is done for small images: `resnet18` on 32×32 leaves 1×1 in the end and works; a network that wants more
than an image has refuses it.  Auxiliary heads are left out.  For grey images the first convolution, which is for
colour, gives way to one of the same shape, initialised as nn.Conv2d is.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torchvision import models

from app.contract.inputs import InputSpec
from app.contract.networks import TORCHVISION, NetworkSpec
from worker.networks.family import CatalogueEntry, entry, refuse_options

PREFIX = TORCHVISION
# These have auxiliary heads, which are left out.  Published, they also map their input to −1 … 1 themselves; here the
# input contract says so, and nothing is hidden.
AUXILIARY = {"googlenet", "inception_v3"}
MNASNET = {"mnasnet0_5": 0.5, "mnasnet0_75": 0.75, "mnasnet1_0": 1.0, "mnasnet1_3": 1.3}  # times the usual width


class VersionlessMNASNet(models.MNASNet):
    """Takes tensors that come without the version that torchvision's asks for: they are of the present one, whose first
    layers have other shapes than those of the one before."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *others: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, {"version": self._version} | local_metadata, *others)


def knows(name: str) -> bool:
    return name.startswith(PREFIX) and name.removeprefix(PREFIX) in names()


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    refuse_options(spec)
    name = spec.name.removeprefix(PREFIX)
    network: nn.Module
    if name in MNASNET:
        network = VersionlessMNASNet(MNASNET[name], num_classes=spec.num_classes)
    else:
        network = models.get_model(name, weights=None, num_classes=spec.num_classes, **_keywords(name, input))
    if input.channels != 3:
        _replace_stem(network, input.channels)
    return network


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    name = spec.name.removeprefix(PREFIX)
    return published_input(name, models.get_model_weights(name)["DEFAULT"])


def entries() -> Iterator[CatalogueEntry]:
    for name in names():
        weights = models.get_model_weights(name)
        usual = weights["DEFAULT"]
        yield entry(
            PREFIX + name,
            f"{name} of torchvision: {usual.meta['num_params']:,} parameters with 1,000 classes.",
            input=published_input(name, usual),
            pretrained=[member.name for member in weights],
        )


def names() -> list[str]:
    """Names of the classifiers; torchvision also has networks for other tasks."""
    return list(models.list_models(module=models))


def published_input(name: str, weights: Any) -> InputSpec:
    """The input that the published `weights` (a member of a torchvision `WeightsEnum`) were trained for."""
    preset = weights.transforms()
    [side] = preset.crop_size
    mean, std = ((0.5,) * 3, (0.5,) * 3) if name in AUXILIARY else (tuple(preset.mean), tuple(preset.std))
    return InputSpec(size=(side, side), channels=3, mean=mean, std=std)


def _keywords(name: str, input: InputSpec) -> dict[str, Any]:
    if name in AUXILIARY:
        return {"aux_logits": False, "init_weights": True}
    if name == "maxvit_t":
        return {"input_size": input.size}
    return {"image_size": _side(input)} if name.startswith("vit_") else {}


def _side(input: InputSpec) -> int:
    height, width = input.size
    if height != width:
        raise ValueError("it takes square images alone")
    return height


def _replace_stem(network: nn.Module, channels: int) -> None:
    path, first = next((path, m) for path, m in network.named_modules() if isinstance(m, nn.Conv2d))
    shape: dict[str, Any] = {key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation")}
    network.set_submodule(path, nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **shape))
