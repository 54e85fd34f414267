"""The order and the speed in which weights learn where a network goes on from a source's."""

from functools import cache

from app.methods.supervised.family import Tuning
from worker.networks.structure import Structure
from worker.training.freezing import Scope, Trainable


def scope(params: Tuning, structure: Structure) -> Scope:
    """The scope of a tuning: what learns in each epoch, with the dropout that goes with it, and how fast."""

    @cache
    def with_live(*paths: str) -> list[str]:
        return [*paths, *structure.live(paths)]

    def trains(epoch: int) -> Trainable:
        paths = learning(epoch, params, structure)
        return paths if paths is None else with_live(*paths)

    return Scope(trains, lambda name: factor(name, params, structure), statistics=params.batch_norm == "adapted")


def learning(epoch: int, params: Tuning, structure: Structure) -> list[str] | None:
    """The heads alone at first; then all that may, or stage by stage from the last (Howard & Ruder 2018)."""
    if epoch < params.frozen_epochs:
        return list(structure.heads)
    if params.unfreeze_every is None:
        return trainable(params, structure)
    opened = 1 + (epoch - params.frozen_epochs) // params.unfreeze_every
    most = params.stages if params.trainable == "last_stages" else len(structure.stages)
    if params.trainable == "all" and opened > most:
        return None
    return list(structure.heads) if params.trainable == "head" else structure.last(min(opened, most))


def trainable(params: Tuning, structure: Structure) -> list[str] | None:
    match params.trainable:
        case "all":
            return None
        case "head":
            return list(structure.heads)
        case "last_stages":
            return structure.last(params.stages)


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
