"""Published weights, through torchvision's and timm's own download and cache."""

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from huggingface_hub import constants as hub
from timm.data import ImageNetInfo, infer_imagenet_subset
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg
from torch import Tensor
from torchvision import models as torchvision

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.ingest import disk
from worker.networks import from_timm, from_torchvision
from worker.runtime.contract import Failure, Retry

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Published:
    """Weights with all that is known of them; `classes` is None where nobody has named them."""

    network: NetworkSpec
    input: InputSpec
    classes: list[str] | None
    tensors: dict[str, Tensor]


def fetch(pretrained: str) -> Published:
    """`torchvision/<name>` or `timm/<name>`, with the library's default weights or `:<weights>` of those it offers.

    Raises:
        Failure: `unknown_network`, there are no such weights; `download_failed`, they cannot be had from here.
    """
    name, _, weights = pretrained.partition(":")
    for family, published in ((from_torchvision, _torchvision), (from_timm, _timm)):
        if family.knows(name):
            with _downloading(pretrained):
                return published(name, weights)
    raise Failure("unknown_network", f"Neither torchvision nor timm has a network {name}.")


def _torchvision(name: str, chosen: str) -> Published:
    model = name.removeprefix(from_torchvision.PREFIX)
    offered = torchvision.get_model_weights(model)
    if chosen and chosen not in offered.__members__:
        raise _unknown(name, chosen)
    weights = offered[chosen or "DEFAULT"]
    keywords = {"aux_logits": False} if model in from_torchvision.AUXILIARY else {}
    network = torchvision.get_model(model, weights=weights, progress=False, **keywords)
    classes = weights.meta["categories"]
    return Published(
        NetworkSpec(name=name, num_classes=len(classes)),
        from_torchvision.published_input(model, weights),
        classes,
        dict(network.state_dict()),
    )


def _timm(name: str, chosen: str) -> Published:
    architecture = name.removeprefix(from_timm.PREFIX)
    model = f"{architecture}.{chosen}" if chosen else architecture
    if chosen and model not in get_arch_pretrained_cfgs(architecture):
        raise _unknown(name, chosen)
    cfg = get_pretrained_cfg(model, allow_unregistered=True)
    input = from_timm.published_input(cfg)
    if cfg is None or input is None or not cfg.has_weights:
        raise _unknown(name, chosen)
    with _hub_cache_alone_if_cut_off():
        network = timm.create_model(model, pretrained=True)
    # published without a classifier, they are given one of a single class: something for a transfer to replace
    spec = NetworkSpec(name=name, num_classes=cfg.num_classes or 1)
    return Published(spec, input, _imagenet_classes(cfg), dict(network.state_dict()))


def _imagenet_classes(cfg: Any) -> list[str] | None:
    subset = infer_imagenet_subset(cfg)
    if subset is None:
        return None
    info: Any = ImageNetInfo(subset)
    return _distinct(info.label_descriptions(), info.label_names())


def _distinct(names: list[str], marks: list[str]) -> list[str]:
    """ImageNet has two cranes and two maillots: what goes by the name of another gets its mark."""
    repeated = {name for name, count in Counter(names).items() if count > 1}
    return [f"{name} ({mark})" if name in repeated else name for name, mark in zip(names, marks, strict=True)]


def _unknown(name: str, chosen: str) -> Failure:
    return Failure(
        "unknown_network", f"There are no weights {chosen} of {name}." if chosen else f"{name} has no weights."
    )


@contextlib.contextmanager
def _downloading(pretrained: str) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)  # PyTorch's download has none of its own
    try:
        with disk.room_for("the download"):
            yield
    except (Failure, Retry, MemoryError):
        raise
    except Exception as error:  # two libraries, and what they download with, have exceptions of their own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        message = f"{pretrained} is not in the cache of this worker, and could not be downloaded: {reason}"
        raise Failure("download_failed", message) from error
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _hub_cache_alone_if_cut_off() -> Iterator[None]:
    """Cut off from the hub, its client would try for the better part of a minute before it looks into its cache."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _reachable(hub.ENDPOINT)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    parts = urlsplit(url)
    if getproxies():  # then it is not for us to see
        return True
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), TIMEOUT_S).close()
    except OSError:
        return False
    return True
