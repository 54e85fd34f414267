"""`timm/<name>`: every architecture of timm, for the size and the channels of its input.

Grey images go by timm's own `in_chans`; where a network is built for one size, by its `img_size`.
"""

from collections.abc import Iterator
from typing import Any

import timm
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import TIMM, NetworkSpec
from app.contract.timm_options import INPUT_OPTIONS, TimmOptions
from worker.data import inputs
from worker.networks.family import CatalogueEntry, entry

PREFIX = TIMM


def knows(name: str) -> bool:
    return name.startswith(PREFIX) and timm.is_model(name.removeprefix(PREFIX))


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    name = spec.name.removeprefix(PREFIX)
    said = TimmOptions.model_validate(spec.options)
    said.require_agreement(input)
    options = said.model_dump(exclude_none=True, exclude=set(INPUT_OPTIONS))
    usual = get_pretrained_cfg(name, allow_unregistered=True)
    if usual is not None and usual.fixed_input_size and usual.input_size[1:] != input.size:
        options["img_size"] = input.size
    network: nn.Module = timm.create_model(name, num_classes=spec.num_classes, in_chans=input.channels, **options)
    return network


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    published = published_input(get_pretrained_cfg(spec.name.removeprefix(PREFIX), allow_unregistered=True))
    said = TimmOptions.model_validate(spec.options)
    if published is None:
        return None
    channels = said.in_chans or published.channels
    mean, std = (inputs.per_channel(values, channels) for values in (published.mean, published.std))
    size = said.size or published.size
    return published.model_copy(update={"size": size, "channels": channels, "mean": mean, "std": std})


def entries() -> Iterator[CatalogueEntry]:
    options = TimmOptions.model_json_schema()
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
