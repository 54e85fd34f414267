"""The order and the speed in which weights learn where a network goes on from a source's."""

from collections.abc import Collection
from functools import cache

from torch import nn

from app.methods.supervised.family import Tuning
from worker.networks import norms
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime.contract import Failure
from worker.training.freezing import Only, Scope, Trainable


def scope(params: Tuning, learner: Classifier) -> Scope:
    """The scope of a tuning: what learns in each epoch, with the dropout that goes with it, and how fast.

    Raises:
        Failure: `does_not_fit`, there are no norms, or biases, to learn.
    """
    structure = learner.structure
    among = _among(params, learner)

    @cache
    def with_live(*paths: str) -> list[str]:
        return [*paths, *structure.live(paths)]

    @cache
    def only(*paths: str) -> Only:
        below = tuple(f"{path}." for path in paths)
        return Only(frozenset(name for name in among or () if not below or name.startswith(below)))

    def trains(epoch: int) -> Trainable:
        paths = learning(epoch, params, structure)
        if among is not None and epoch >= params.frozen_epochs:
            return only(*(paths or ()))
        return paths if paths is None else with_live(*paths)

    return Scope(trains, lambda name: factor(name, params, structure), statistics=params.batch_norm == "adapted")


def learning(epoch: int, params: Tuning, structure: Structure) -> list[str] | None:
    """Paths of the modules that may learn: the heads alone at first; then all that are to, or stage by stage from the
    last (Howard & Ruder 2018)."""
    if epoch < params.frozen_epochs:
        return list(structure.heads)
    if params.unfreeze_every is None:
        return _modules(params, structure)
    opened = 1 + (epoch - params.frozen_epochs) // params.unfreeze_every
    most = params.stages if params.trainable == "last_stages" else len(structure.stages)
    if params.trainable not in ("head", "last_stages") and opened > most:
        return None
    return list(structure.heads) if params.trainable == "head" else structure.last(min(opened, most))


def trainable(params: Tuning, learner: Classifier) -> list[str] | None:
    """Paths of the modules, or names of the parameters, that learn in the end; None: all."""
    among = _among(params, learner)
    return _modules(params, learner.structure) if among is None else among


def _modules(params: Tuning, structure: Structure) -> list[str] | None:
    match params.trainable:
        case "head":
            return list(structure.heads)
        case "last_stages":
            return structure.last(params.stages)
    return None


def _among(params: Tuning, learner: Classifier) -> list[str] | None:
    """Names of the parameters, the heads' with them, where it is by names that they learn."""
    network, structure = learner.module, learner.structure
    match params.trainable:
        case "norms":
            wanted = [f"{path}.{name}" for path, norm in norms.scaled(network).items() for name in _own(norm)]
        case "biases":
            wanted = [name for name, parameter in network.named_parameters() if is_bias(name, parameter)]
        case _:
            return None
    heads = tuple(f"{path}." for path in structure.heads)
    if all(name.startswith(heads) for name in wanted):
        raise Failure("does_not_fit", f"Below its head the network has no {params.trainable} that could learn.")
    return [name for name, _ in network.named_parameters() if name in wanted or name.startswith(heads)]


def _own(module: nn.Module) -> Collection[str]:
    return [name for name, _ in module.named_parameters(recurse=False)]


def is_bias(name: str, parameter: nn.Parameter) -> bool:
    """Tell whether a parameter is what a layer adds: norms' shifts and attention's (`in_proj_bias`) are, tables of
    biases by place are not."""
    return parameter.ndim == 1 and "bias" in name.rpartition(".")[2].split("_")


def factor(name: str, params: Tuning, structure: Structure) -> float:
    """The share of the learning rate of the parameter `name`: the longest prefix that is listed, else its group's.

    The backbone's falls by `stage_decay` with every stage away from the head (Howard & Ruder 2018).
    """
    for prefix in sorted(params.learning_rates, key=len, reverse=True):
        if name.startswith(prefix):
            return params.learning_rates[prefix]
    if name.startswith(tuple(f"{head}." for head in structure.heads)):
        return params.head_factor
    return params.backbone_factor * params.stage_decay ** _depth(name, structure)


def _depth(name: str, structure: Structure) -> int:
    """Stages between the parameter's and the head; what is in no stage is as deep as the first."""
    for depth, stage in enumerate(reversed(structure.stages)):
        if name.startswith(tuple(f"{path}." for path in stage)):
            return depth
    return max(0, len(structure.stages) - 1)
