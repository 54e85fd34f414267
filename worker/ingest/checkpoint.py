"""A checkpoint, from an uploaded file or a library's published weights to canonical weights and a graph."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.methods.inputs import InputSpec
from app.methods.networks import NetworkSpec
from app.methods.recipe import Recipe
from worker.engine.contract import Channel, Failure, Note, Result, Spec
from worker.export import package
from worker.ingest import disk, pretrained, weights
from worker.ingest.watch import Watch
from worker.networks import build, load
from worker.networks.load import Report


@dataclass(frozen=True)
class _Source:
    network: NetworkSpec
    input: InputSpec
    classes: list[str] | None
    recipe: dict[str, Any] | None
    tensors: dict[str, Tensor]


def ingest(spec: Spec, channel: Channel) -> Result:
    """`spec.payload`: {network, input, classes, multi_label, recipe, pretrained}, of `app.checkpoints.service`.

    Raises:
        Failure: the file cannot be used, or is not of that network: what about it is wrong, and what to change.
        Interrupted: an order to stop was given.
        Retry: the disk is full.
    """
    watch = Watch(channel)
    source = _published(spec) if spec.payload["pretrained"] else _uploaded(spec, watch)
    watch.heed()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what the file lacks is drawn, the same for the same file
        network, structure, report = load.make(source.network, source.input, source.tensors)
    channel.emit(_told(report))
    watch.heed()
    channel.emit(Note("exporting", "Writing weights and graph, and comparing the two."))
    multi_label = spec.payload["multi_label"]
    about = package.metadata(source.network, source.input, source.classes, multi_label=multi_label)
    with disk.room_for("the checkpoint"):
        artifacts, packed = package.package(
            network, structure, source.input, spec.workdir, about, multi_label=multi_label
        )
    document = {
        "network": source.network.model_dump(mode="json"),
        "input": source.input.model_dump(mode="json"),
        "classes": source.classes,
        "recipe": source.recipe,
        "report": report.document(),
    }
    return Result(document | packed, artifacts)


def _uploaded(spec: Spec, watch: Watch) -> _Source:
    payload = spec.payload
    network = NetworkSpec.model_validate(payload["network"])
    input = build.usual_input(network) if payload["input"] is None else InputSpec.model_validate(payload["input"])
    if input is None:
        message = f"Nothing says what images {network.name} takes: give `input` with size, channels, mean and std."
        raise Failure("does_not_fit", message)
    return _Source(network, input, payload["classes"], payload["recipe"], weights.read(spec.inputs["file"], watch))


def _published(spec: Spec) -> _Source:
    """Of the rule the libraries tell what images are brought to; the rest is in their training scripts."""
    found = pretrained.fetch(spec.payload["pretrained"])
    recipe = Recipe(version=1, input=found.input).document()
    return _Source(found.network, found.input, found.classes, recipe, found.tensors)


def _told(report: Report) -> Note:
    data: dict[str, Any] = {name: len(entries) for name, entries in report.document().items()}
    told = ", ".join(f"{count} {name}" for name, count in data.items() if count)
    return Note("weights_read", f"Tensors: {told}.", "warning" if report.initialised else "info", data)
