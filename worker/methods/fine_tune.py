"""`fine_tune`: go on from the source's weights."""

from app.methods.fine_tune import FineTune
from worker.engine.freeze import Trainable
from worker.methods import supervised, transferred
from worker.methods.task import Adapted, Task
from worker.networks.anatomy import Anatomy


def fine_tune(task: Task, params: FineTune) -> Adapted:
    """Yosinski et al. 2014; the head first (`frozen_epochs`), then what `trainable` names."""
    begun = transferred.start(task, params.input)
    structure = begun.anatomy
    seen = supervised.examples(task.run, task.target, params, begun.input, begun.classes)
    params = params.resolve(len(seen.train), begun.input.size)
    chosen = trainable(params, structure)
    supervised.learn(
        task.run,
        begun.network,
        params,
        seen,
        begun.input,
        factor=lambda name: factor(name, params, structure.heads),
        trainable=lambda epoch: list(structure.heads) if epoch < params.frozen_epochs else chosen,
    )
    transfer = begun.report | {"trainable": chosen}
    return Adapted(begun.network, structure, begun.spec, begun.input, begun.classes, params, seen.use, transfer)


def trainable(params: FineTune, structure: Anatomy) -> Trainable:
    match params.trainable:
        case "all":
            return None
        case "head":
            return list(structure.heads)
        case "last_stages":
            return structure.last(params.stages)


def factor(name: str, params: FineTune, heads: tuple[str, ...]) -> float:
    """Of the learning rate, for the parameter `name`: the longest prefix that is listed, else its group's."""
    for prefix in sorted(params.learning_rates, key=len, reverse=True):
        if name.startswith(prefix):
            return params.learning_rates[prefix]
    in_head = name.startswith(tuple(f"{head}." for head in heads))
    return params.head_factor if in_head else params.backbone_factor
