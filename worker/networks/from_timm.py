"""`timm/<name>`: every architecture of timm; grey images by timm's own `in_chans`, sizes by its `img_size`."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import timm
from pydantic import Field
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg
from torch import nn

from app.contract.base import StrictModel
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks.family import CatalogueEntry, entry

PREFIX = "timm/"


class Options(StrictModel):
    """Left out, the network's own defaults hold.  Not every network has a `drop_path_rate`.

    `global_pool` is timm's: a vision transformer takes its class token (`token`) or the mean of all others (`avg`).
    `pad_type` and `bn_eps` are for networks that TensorFlow's weights are brought over to: `same` pads by the image's
    size.
    """

    drop_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    global_pool: Annotated[str, Field(pattern=r"^[a-z]{1,16}$")] | None = None
    pad_type: Literal["", "same"] | None = None
    bn_eps: Annotated[float, Field(gt=0, le=0.1)] | None = None


def knows(name: str) -> bool:
    return name.startswith(PREFIX) and timm.is_model(name.removeprefix(PREFIX))


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    name = spec.name.removeprefix(PREFIX)
    options = Options.model_validate(spec.options).model_dump(exclude_none=True)
    usual = get_pretrained_cfg(name, allow_unregistered=True)
    if usual is not None and usual.fixed_input_size and usual.input_size[1:] != input.size:
        options["img_size"] = input.size
    network: nn.Module = timm.create_model(name, num_classes=spec.num_classes, in_chans=input.channels, **options)
    return network


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    return published_input(get_pretrained_cfg(spec.name.removeprefix(PREFIX), allow_unregistered=True))


def entries() -> Iterator[CatalogueEntry]:
    options = Options.model_json_schema()
    for name in timm.list_models():
        weights = [weights for weights, cfg in get_arch_pretrained_cfgs(name).items() if cfg.has_weights]
        yield entry(
            PREFIX + name,
            f"{name} of timm.",
            input=published_input(get_pretrained_cfg(name, allow_unregistered=True)),
            options=options,
            pretrained=[weights.partition(".")[2] for weights in weights if "." in weights],
        )


def published_input(cfg: Any) -> InputSpec | None:
    """The input that the weights that `cfg` (timm's `PretrainedCfg`) describes were trained for."""
    if cfg is None:
        return None
    channels, height, width = cfg.input_size
    return InputSpec(size=(height, width), channels=channels, mean=tuple(cfg.mean), std=tuple(cfg.std))
