"""The answer to which network a file's weights are of, without a checkpoint made of them."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from app.contract.blobs import Input
from app.contract.identification import Candidate, Identification
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import IdentifyRequest
from worker.ingest import alike, own, recognise, trial, weights
from worker.ingest import repository as repositories
from worker.ingest.adopt import Adopted, adopt
from worker.ingest.recognise import Unrecognised
from worker.ingest.repository_config import Described
from worker.ingest.trial import Question
from worker.ingest.watch import DiskWatch
from worker.ingest.weights import Contents
from worker.networks import build, renewal
from worker.runtime.contract import Channel, Note, Result, Spec


def identify(spec: Spec[IdentifyRequest], channel: Channel) -> Result[Identification]:
    """Say which network the weights of an uploaded file are of; of an unknown one, which are nearest.

    Raises:
        Failure: the file cannot be read; or it holds weights of several networks.
        Interrupted: an order to stop was given.
        Retry: the disk is full.
    """
    watch, path = DiskWatch(channel), spec.inputs[Input.FILE]
    repository = repositories.read(path, spec.workdir, watch)
    contents = Contents(repository.tensors) if repository else weights.contents(path, watch)
    described = repository.described if repository else Described(classes=contents.classes)
    tensors, dataset = contents.tensors, spec.payload.dataset
    said = Described(
        network=described.network,
        input=spec.payload.input or described.input,
        classes=spec.payload.classes or described.classes,
    )
    about = None if repository else own.read(weights.metadata(path))
    network, input = (about.network, about.input) if about else (described.network, described.input)
    if network is not None:
        candidate = Candidate(network=network, input=spec.payload.input or input or build.usual_input(network), fit=1.0)
        if dataset is not None:
            channel.emit(trial.not_needed(network))
        return Result(Identification(rule="metadata", candidates=[candidate]))
    known = renewal.known(spec.signatures)
    if known.outdated:
        channel.emit(Note("signatures_outdated", known.outdated, "warning"))
    try:
        found = recognise.recognise(tensors, known.signatures)
    except Unrecognised as none:
        channel.emit(none.note)
        return Result(Identification(rule=None, candidates=none.candidates))
    watch.checkpoint_or_stop()
    if dataset is not None:
        question = Question.opened(
            dataset, spec.inputs, partial(_taken, tensors), input=said.input, classes=said.classes
        )
        found, note = trial.settled(found, question, watch)
        channel.emit(note)
    adopted = _taken(tensors, found.network, said.input or found.input)
    identified = alike.compared(found, adopted.loaded.network, said.input or found.input)
    notes = found.assumed(input=said.input, classes=said.classes)
    for warning in (*notes, *alike.ambiguity(identified), *adopted.warnings):
        channel.emit(warning)
    return Result(identified)


def _taken(tensors: Mapping[str, Tensor], network: NetworkSpec, input: InputSpec) -> Adopted:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return adopt(network, input, tensors)
