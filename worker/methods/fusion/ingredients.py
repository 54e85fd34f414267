"""Networks whose weights can be calculated with: loaded, compared tensor by tensor, brought to one order of classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from app.contract.networks import NetworkSpec
from app.methods.fusion.family import INSTEAD, Described, Fusing, mismatch, same_classes
from worker.methods import inputs
from worker.methods.task import Source, Task
from worker.networks import load, merge
from worker.networks.classifier import Classifier
from worker.networks.load import Loaded
from worker.networks.merge import Weights
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.training import batch_norm

CHECKPOINT = "the checkpoint"


@dataclass(frozen=True)
class Ingredients:
    """`classifier` is a network to try weights in, of the run's device; the weights themselves are on the CPU.

    `origin` are the checkpoint's weights, with a head of other classes where nothing is counted from them.
    `parameters` are the names of what learns, `tuned` those of the tensors that began as the checkpoint's.
    """

    spec: NetworkSpec
    classifier: Classifier
    sources: Mapping[str, Weights]
    origin: Weights
    parameters: frozenset[str]
    tuned: frozenset[str]

    def vectors(self) -> list[Weights]:
        """Task vectors: the changes that each tuning has made to the parameters."""
        origin = self.learned(self.origin)
        return [merge.task_vector(origin, weights) for weights in self.sources.values()]

    def learned(self, weights: Weights) -> dict[str, Tensor]:
        """The parameters alone."""
        return {name: weights[name] for name in weights if name in self.parameters}

    def with_buffers(self, parameters: Weights) -> dict[str, Tensor]:
        """The weights with the mean of the sources' buffers."""
        return merge.mean(list(self.sources.values())) | dict(parameters)


def gather(task: Task, params: Fusing) -> Ingredients:
    """
    Raises:
        Failure: `does_not_fit`, with the network and the tensor or class by which two of them differ.
    """
    task = replace(task, teachers={id_: inputs.resized(one, params.input) for id_, one in task.teachers.items()})
    first_id, checkpoint = params.sources[0], task.known_source
    first = task.teachers[first_id]
    _require_alike(task, params)
    classes = checkpoint.classes if same_classes(checkpoint.classes, first.classes) else first.classes
    loaded = {id_: _loaded(id_, task.teachers[id_]) for id_ in params.sources}
    sources = {id_: _ordered(id_, loaded[id_], task.teachers[id_].classes, classes) for id_ in params.sources}
    network, structure = loaded[first_id].network, loaded[first_id].structure
    origin = _origin(checkpoint, classes)
    parameters = frozenset(name for name, _ in network.named_parameters(remove_duplicate=False))
    _require_shapes({**({CHECKPOINT: origin} if params.counts_from_source else {}), **sources})
    statistics = tuple(f"{path}." for path in batch_norm.layers(network))
    _require_constant(
        sources, {name for name in sources[first_id].keys() - parameters if not name.startswith(statistics)}
    )
    device.place(network, task.run.device)
    return Ingredients(
        spec=first.network,
        classifier=Classifier(network.requires_grad_(False).eval(), structure, first.input, classes),
        sources=sources,
        origin=origin,
        parameters=parameters,
        tuned=_tuned(sources[first_id], origin, () if classes == checkpoint.classes else structure.heads),
    )


def _tuned(weights: Weights, origin: Weights, new: tuple[str, ...]) -> frozenset[str]:
    heads = tuple(f"{path}." for path in new)
    shared = (name for name in weights if name in origin and weights[name].shape == origin[name].shape)
    return frozenset(name for name in shared if not name.startswith(heads))


def _require_alike(task: Task, params: Fusing) -> None:
    described = [_described(id_, task.teachers[id_]) for id_ in params.sources]
    pairs = [(one, described[0], True) for one in described[1:]]
    pairs.append((described[0], _described(CHECKPOINT, task.known_source), params.counts_from_source))
    for one, other, classes in pairs:
        reason = mismatch(one, other, classes=classes)
        if reason:
            raise _unlike(reason)


def _described(name: str, source: Source) -> Described:
    return Described(name, source.network, source.input, source.classes)


def _unlike(reason: str) -> Failure:
    sentence = reason.replace(CHECKPOINT, CHECKPOINT.capitalize(), 1) if reason.startswith(CHECKPOINT) else reason
    return Failure("does_not_fit", f"{sentence} {INSTEAD}")


def _loaded(name: str, source: Source) -> Loaded:
    loaded = load.make(source.network, source.input, load_file(source.weights), allow_missing=True)
    if loaded.report.initialised:  # said here, since here it is known which network it is
        raise _unlike(f"{name} lacks the tensor {loaded.report.initialised[0]}.")
    return loaded


def _origin(checkpoint: Source, classes: list[str] | None) -> dict[str, Tensor]:
    same = same_classes(checkpoint.classes, classes)
    wanted = classes if same else checkpoint.classes
    return _ordered(CHECKPOINT, _loaded(CHECKPOINT, checkpoint), checkpoint.classes, wanted)


def _ordered(name: str, loaded: Loaded, classes: list[str] | None, wanted: list[str] | None) -> dict[str, Tensor]:
    """The state, the head's outputs from the order of `classes` to that of those that are `wanted`."""
    state = {key: tensor.detach().clone() for key, tensor in loaded.network.state_dict().items()}
    if classes is None or wanted is None or classes == wanted:
        return state
    place = torch.tensor([classes.index(one) for one in wanted])
    for path in loaded.structure.heads:
        head = loaded.network.get_submodule(path)
        if not isinstance(head, nn.Linear | nn.Conv2d):
            raise _unlike(f"{name} has its classes in another order, and its head cannot be put into this one.")
        for tensor in head.state_dict():
            state[f"{path}.{tensor}"] = state[f"{path}.{tensor}"][place]
    return state


def _require_shapes(all_: Mapping[str, Weights]) -> None:
    (first, weights), *others = all_.items()
    for other, tensors in others:
        for name in sorted(weights.keys() | tensors.keys()):
            shapes = [list(state[name].shape) if name in state else None for state in (tensors, weights)]
            if shapes[0] != shapes[1]:
                raise _unlike(f"{name} is {shapes[0]} in {other}, but {shapes[1]} in {first}.")


def _require_constant(sources: Mapping[str, Weights], names: set[str]) -> None:
    """Buffers that are no statistics (indices, masks, a fitted head) have no mean."""
    (first, weights), *others = sources.items()
    for other, tensors in others:
        for name in sorted(names):
            if not torch.equal(tensors[name], weights[name]):
                raise _unlike(f"{name} is no weight, and it differs between {other} and {first}.")
