"""A checkpoint, from an uploaded file or a library's published weights to canonical weights and a graph."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from app.contract.blobs import Input
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Recipe
from app.contract.results import CheckpointResult
from app.contract.specs import CheckpointIngest
from worker.export import package
from worker.ingest import alike, disk, own, pretrained, recognise, trial, weights
from worker.ingest import repository as repositories
from worker.ingest.adopt import Adopted, adopt
from worker.ingest.recognise import Recognised
from worker.ingest.repository_config import Described
from worker.ingest.trial import Question
from worker.ingest.watch import DiskWatch
from worker.ingest.weights import Contents
from worker.networks import build, renewal
from worker.networks.load import Report
from worker.runtime.contract import Channel, Failure, Note, Result, Spec


@dataclass(frozen=True)
class _Source:
    network: NetworkSpec
    input: InputSpec
    classes: list[str] | None
    multi_label: bool
    recipe: Recipe | None
    tensors: dict[str, Tensor]
    untrained_head: bool = False  # the file says so itself
    notes: list[Note] = field(default_factory=list)
    recognised: Recognised | None = None  # where nobody has named the network


def ingest(spec: Spec[CheckpointIngest], channel: Channel) -> Result[CheckpointResult]:
    """Make canonical weights and a graph of the uploaded file, or of the weights that a library publishes.

    Raises:
        Failure: the file cannot be used, or is not of that network: what about it is wrong, and what to change.
        Interrupted: an order to stop was given.
        Retry: the disk is full.
    """
    watch, request = DiskWatch(channel), spec.payload
    source = _uploaded(spec, watch) if request.pretrained is None else _published(request.pretrained)
    watch.checkpoint_or_stop()
    adopted = _taken(request, source.tensors, source.network, source.input)
    network, structure, report = adopted.loaded
    recognised = source.recognised
    identified = None if recognised is None else alike.compared(recognised, network, source.input)
    untrained_head = adopted.untrained_head or source.untrained_head
    channel.emit(_tensors_note(report))
    for warning in [*source.notes, *alike.ambiguity(identified), *adopted.warnings]:
        channel.emit(warning)
    watch.checkpoint_or_stop()
    channel.emit(Note("exporting", "Writing weights and graph, and comparing the two."))
    about = package.metadata(
        adopted.network,
        source.input,
        source.classes,
        multi_label=source.multi_label,
        untrained_head=untrained_head,
    )
    with disk.room_for("the checkpoint"):
        artifacts, packaged = package.package(
            network, structure, source.input, spec.workdir, about, multi_label=source.multi_label
        )
    result = CheckpointResult(
        network=adopted.network,
        input=source.input,
        classes=source.classes,
        multi_label=source.multi_label,
        recipe=source.recipe,
        report=report.document(),
        identified=identified,
        untrained_head=untrained_head,
        parameters=packaged.parameters,
        sha256=packaged.sha256,
        not_servable=packaged.not_servable,
        image_bytes=packaged.image_bytes,
    )
    return Result(result, artifacts)


def _uploaded(spec: Spec[CheckpointIngest], watch: DiskWatch) -> _Source:
    """Read an uploaded checkpoint.  Where the request leaves something out, what the file says of itself holds, else
    what is usual for the network."""
    request, path = spec.payload, spec.inputs[Input.FILE]
    repository = repositories.read(path, spec.workdir, watch)
    contents = Contents(repository.tensors) if repository else weights.contents(path, watch)
    described = repository.described if repository else Described(classes=contents.classes)
    about = None if repository else own.read(weights.metadata(path))
    network = request.network or (about.network if about else described.network)
    if network is None:
        return _recognised(spec, contents.tensors, described, watch)
    same = about if about is not None and about.network == network else None
    input = request.input or (same.input if same else described.input) or build.usual_input(network)
    if input is None:
        message = f"Nothing says what images {network.name} takes: give `input` with size, channels, mean and std."
        raise Failure("does_not_fit", message)
    classes = request.classes
    if classes is None and same:
        classes = same.classes
    elif classes is None and described.classes and len(described.classes) == network.num_classes:
        classes = described.classes
    _require_names(network, classes)
    notes = [] if request.dataset is None else [trial.not_needed(network)]
    return _Source(
        network,
        input,
        classes,
        request.multi_label or (same.multi_label if same else False),
        request.recipe,
        contents.tensors,
        same.untrained_head if same else False,
        [*_described(request, described, network), *notes],
    )


def _taken(request: CheckpointIngest, tensors: Mapping[str, Tensor], network: NetworkSpec, input: InputSpec) -> Adopted:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what the file lacks is drawn, the same for the same file
        return adopt(
            network,
            input,
            tensors,
            weights=request.weights,
            mapping=request.mapping,
            allow_missing=request.allow_missing,
            filename=request.filename,
        )


def _described(request: CheckpointIngest, described: Described, network: NetworkSpec) -> Iterator[Note]:
    """A note on what was taken from the configurations beside the weights, since the request does not say it."""
    taken = [
        *([f"the network is {network.name}"] if request.network is None and described.network else []),
        *([_preprocessing(described.input)] if request.input is None and described.input else []),
    ]
    if request.classes is None and described.classes:
        fits = len(described.classes) == network.num_classes
        taken.append("the classes have names" if fits else f"there are names of {len(described.classes)} other classes")
    if taken:
        yield Note("configuration_read", f"By what stands beside the weights {'; '.join(taken)}.", "warning")


def _preprocessing(input: InputSpec) -> str:
    return f"images are brought to {input.size[0]}×{input.size[1]}, mean {list(input.mean)}, std {list(input.std)}"


def _recognised(
    spec: Spec[CheckpointIngest], tensors: dict[str, Tensor], described: Described, watch: DiskWatch
) -> _Source:
    """Recognise the network of a file that names none, with the classes and the input that are usual for it."""
    request = spec.payload
    known = renewal.known(spec.signatures)
    count = None if request.classes is None else len(request.classes)
    found = recognise.recognise(tensors, known.signatures, mapping=request.mapping, num_classes=count)
    _require_names(found.network, request.classes)
    named = described.classes if described.classes and len(described.classes) == found.network.num_classes else None
    input, classes = request.input or described.input, request.classes or named
    notes = [Note("signatures_outdated", known.outdated, "warning")] if known.outdated else []
    if request.dataset is not None:
        take = partial(_taken, request, tensors)
        question = Question.opened(request.dataset, spec.inputs, take, input=input, classes=classes)
        found, note = trial.settled(found, question, watch)
        notes.append(note)
    return _Source(
        found.network,
        input or found.input,
        classes or found.imagenet,
        request.multi_label,
        request.recipe,
        tensors,
        notes=[*notes, *_described(request, described, found.network), *found.assumed(input=input, classes=classes)],
        recognised=found,
    )


def _require_names(network: NetworkSpec, classes: list[str] | None) -> None:
    """
    Raises:
        Failure: `does_not_fit`, there are not as many names as classes.
    """
    if classes is not None and len(classes) != network.num_classes:
        message = f"The network has {network.num_classes} classes, but {len(classes)} names are given."
        raise Failure("does_not_fit", message)


def _published(name: str) -> _Source:
    """Fetch published weights.  Of the rule they were trained by, the libraries tell what images are brought to; the
    rest is in their training scripts."""
    published = pretrained.fetch(name)
    recipe = Recipe(version=1, input=published.input)
    return _Source(published.network, published.input, published.classes, False, recipe, published.tensors)


def _tensors_note(report: Report) -> Note:
    data: dict[str, Any] = {name: len(entries) for name, entries in asdict(report).items()}
    counts = ", ".join(f"{count} {name}" for name, count in data.items() if count)
    return Note("weights_read", f"Tensors: {counts}.", data=data)
