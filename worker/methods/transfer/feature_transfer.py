"""`feature_transfer`: stages of the source in a network of the same or another architecture, the rest new."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import nn

from app.contract.layers import with_classes
from app.contract.transfer import TensorReport, TransferReport
from app.methods.transfer.feature_transfer import FeatureTransfer
from worker.methods import inputs, supervision, transferred
from worker.methods.task import Adapted, Task
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.load import Report
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.training.freezing import Except, Scope

Pairs = list[tuple[str, str]]  # paths of modules: the source's, the target's


def run(task: Task, params: FeatureTransfer) -> Adapted:
    """Yosinski et al. 2014: features that are general are copied, what is specific learns anew."""
    source, classes = task.known_source, task.target.classes
    spec = params.network or with_classes(source.network, len(classes))
    input = params.input or (source.input if params.network is None else inputs.default(spec, task.target, task.run))
    network = build.build(spec, input)
    learner = Classifier(network, Structure.of(network, input), input, classes)
    pairs = _copy(task, params, learner)
    device.place(network, task.run.device)
    examples = supervision.examples(task.run, task.target, params, input, classes)
    params = params.resolve(len(examples.train), input.size)
    copied = [target for _, target in pairs]
    supervision.learn(task, learner, params, examples, Scope(lambda epoch: None if params.tunable else Except(copied)))
    report = TransferReport(
        tensors=_report(learner, pairs, source.drawn),
        head="new",
        adapters=transferred.adapters(task.target, input),
    )
    transfer = report | {"frozen": [] if params.tunable else copied}
    return Adapted(learner, spec, params, examples.use, transfer)


def _copy(task: Task, params: FeatureTransfer, learner: Classifier) -> Pairs:
    source = transferred.unchanged(transferred.base(task.known_source))
    if params.mapping:
        pairs = list(params.mapping.items())
    else:
        stages = source.structure.stages if params.stages is None else source.structure.stages[: params.stages]
        pairs = by_shape(_layers(source.module, stages), _layers(learner.module, learner.structure.stages))
    if not pairs:
        raise Failure("does_not_fit", "The source has no layer of the kind and shape of any of the network's.")
    for ours, theirs in pairs:
        _copy_module(source.module, ours, learner.module, theirs, learner.structure)
    return pairs


def by_shape(source: dict[str, nn.Module], target: dict[str, nn.Module]) -> Pairs:
    """Layers of the same kind and shapes, both in order; the longest runs first (Ratcliff & Obershelp 1988)."""
    here, there = list(source), list(target)
    matcher = SequenceMatcher(
        None, [_signature(source[path]) for path in here], [_signature(target[path]) for path in there], autojunk=False
    )
    return [
        (here[block.a + i], there[block.b + i]) for block in matcher.get_matching_blocks() for i in range(block.size)
    ]


def _layers(network: nn.Module, stages: tuple[tuple[str, ...], ...]) -> dict[str, nn.Module]:
    """Modules with tensors of their own, within the stages, in order."""
    layers = {}
    for path in (path for stage in stages for path in stage):
        for name, module in network.get_submodule(path).named_modules(prefix=path):
            if module.state_dict() and not any(True for _ in module.children()):
                layers[name] = module
    return layers


def _signature(module: nn.Module) -> tuple[Any, ...]:
    return type(module).__name__, *(tuple(tensor.shape) for tensor in module.state_dict().values())


def _copy_module(source: nn.Module, ours: str, target: nn.Module, theirs: str, structure: Structure) -> None:
    for network, path, which in ((source, ours, "source"), (target, theirs, "network")):
        if path not in dict(network.named_modules()):
            raise Failure("does_not_fit", f"The {which} has no module {path}: see `mapping`.")
    if any(head == theirs or head.startswith(f"{theirs}.") for head in structure.heads):
        raise Failure("does_not_fit", f"{theirs} is, or holds, the head, which is new: leave it out of `mapping`.")
    state, place = source.get_submodule(ours).state_dict(), target.get_submodule(theirs).state_dict()
    wrong = [name for name in state.keys() | place.keys() if _shape(state.get(name)) != _shape(place.get(name))]
    if wrong:
        name = min(wrong)
        raise Failure(
            "does_not_fit",
            f"{ours} does not fit {theirs}: {name} is {_shape(state.get(name))} there, {_shape(place.get(name))} here.",
        )
    with torch.no_grad():
        for name, tensor in state.items():
            place[name].copy_(tensor)


def _shape(tensor: torch.Tensor | None) -> list[int] | None:
    return None if tensor is None else list(tensor.shape)


def _report(learner: Classifier, pairs: Pairs, drawn: Sequence[str]) -> TensorReport:
    """The report on tensors, as a load makes it: the names of the network's tensors, and where they come from."""
    names = list(learner.module.state_dict())
    renamed, copied = [], []
    for ours, theirs in pairs:
        for name in names:
            if name.startswith(f"{theirs}."):
                source_name = ours + name.removeprefix(theirs)
                (copied.append(name) if source_name == name else renamed.append({"from": source_name, "to": name}))
    transferred_names = {*copied, *(entry["to"] for entry in renamed)}
    initialised = [name for name in names if name not in transferred_names]
    report = Report(copied=copied, renamed=renamed, initialised=initialised)
    report.was_drawn(drawn)
    return report.document()
