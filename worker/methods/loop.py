"""The training loop as a method's parameters describe it, over any batches and any loss."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

from torch import nn

from app.methods.training import Loop
from worker.runtime.run import Run
from worker.training import optimizers
from worker.training.fit import B, Backward, Batches, Fitted, Loss, Plan, Stateful, Validation, everything, fit
from worker.training.freezing import Trainable

N = TypeVar("N", int, float)


def minimise(
    run: Run,
    network: nn.Module,
    params: Loop,
    batches: Batches[B],
    loss: Loss[B],
    validate: Callable[[], Validation] | None,
    *,
    patience: int | None = None,
    keep: Literal["best", "last"] = "best",
    factor: Callable[[str], float] = lambda name: 1.0,
    trainable: Callable[[int], Trainable] = everything,
    beside: Mapping[str, nn.Module] | None = None,
    stateful: Mapping[str, Stateful] | None = None,
    turn: int = 0,
    backward: Backward[B] | None = None,
    phase: str = "train",
) -> Fitted:
    """`factor` gives a parameter's share of the learning rate, `trainable` what learns in an epoch; see `fit` and its
    `Plan`.

    `params` has its defaults closed.
    """
    epochs, decay = closed(params.epochs), closed(params.weight_decay)
    rate = optimizers.schedule(
        params.scheduler, epochs * batches.per_epoch, round(params.warmup_epochs * batches.per_epoch)
    )
    recipe = optimizers.Recipe(
        params.optimizer, closed(params.learning_rate), params.momentum, decay, params.max_gradient_norm
    )
    groups = optimizers.groups(network, factor, decay)
    for module in (beside or {}).values():
        groups += optimizers.groups(module, lambda name: 1.0, decay)
    return fit(
        run,
        network=network,
        optimiser=optimizers.Optimiser(groups, recipe, rate),
        data=batches,
        loss=loss,
        plan=Plan(epochs, patience=patience, trainable=trainable, keep=keep, average=params.average, turn=turn),
        validate=validate,
        beside=beside,
        stateful=stateful,
        backward=backward,
        phase=phase,
    )


def closed(value: N | None) -> N:
    """A default that `Loop.resolve` has closed."""
    if value is None:
        raise AssertionError("the parameters were not resolved")
    return value
