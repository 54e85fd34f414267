"""Learning from labels, as every method with a training loop does it: data within the budget, recipe, loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from app.methods.inputs import InputSpec
from app.methods.training import Training
from worker.engine import augment, data, device, evaluate, optimise
from worker.engine.contract import Failure
from worker.engine.data import Images, Prepare
from worker.engine.fit import Fitted, Plan, everything, fit
from worker.engine.freeze import Trainable
from worker.engine.run import Run
from worker.methods.task import Domain, LabelUse

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Examples:
    """What a run may learn from and select by, on the network's input size; validation may be empty."""

    train: Images
    validation: Images

    @property
    def use(self) -> LabelUse:
        return LabelUse(len(self.train), len(self.validation))


def examples(run: Run, domain: Domain, params: Training, input: InputSpec, classes: list[str]) -> Examples:
    """The target's training and validation images within the label budget.

    Raises:
        Failure: `does_not_fit`, there is nothing to learn from.
    """
    train = domain.within(domain.labelled("train"), params, run.seed)
    validation = domain.within(domain.labelled("validation"), params, run.seed)
    found = Examples(domain.examples(train, input, classes), domain.examples(validation, input, classes))
    if not len(found.train):
        raise Failure("does_not_fit", "The training split has no labelled image of the network's classes.")
    return found


def learn(
    run: Run,
    network: nn.Module,
    params: Training,
    seen: Examples,
    input: InputSpec,
    *,
    factor: Callable[[str], float] = lambda name: 1.0,
    trainable: Callable[[int], Trainable] = everything,
) -> Fitted:
    """Minimise cross-entropy over the training images; the network ends with the weights that validated best.

    `factor` gives a parameter's share of the learning rate, `trainable` what learns in an epoch.
    `params` has its defaults closed.
    """
    prepare = Prepare(input, run.device, device.memory_format(network))
    train, validation = seen.train.to(run.device), seen.validation.to(run.device)
    batches = data.image_batches(
        run,
        train,
        prepare=prepare,
        batch_size=closed(params.batch_size),
        augment=augment.compose(params.augmentation) if isinstance(params.augmentation, list) else None,
    )

    def validate_on() -> evaluate.Split:
        return evaluate.image_batches(run, validation, prepare)

    return fit_classifier(
        run,
        network,
        params,
        batches,
        validate_on if len(validation) else None,
        factor=factor,
        trainable=trainable,
    )


def fit_classifier(
    run: Run,
    network: nn.Module,
    params: Training,
    batches: data.Shuffled,
    validate_on: Callable[[], evaluate.Split] | None,
    *,
    factor: Callable[[str], float] = lambda name: 1.0,
    trainable: Callable[[int], Trainable] = everything,
) -> Fitted:
    """The loop over any batches of (what the network takes, label)."""
    epochs, decay = closed(params.epochs), closed(params.weight_decay)
    metric = params.early_stopping.metric if params.early_stopping else "accuracy"
    rate = optimise.schedule(
        params.scheduler, epochs * batches.per_epoch, round(params.warmup_epochs * batches.per_epoch)
    )
    recipe = optimise.Recipe(params.optimizer, closed(params.learning_rate), params.momentum, decay)

    def loss(batch: data.Batch, _: object) -> dict[str, Tensor]:
        logits_BK = network(batch.x)
        return {"loss": F.cross_entropy(logits_BK, batch.y_B, label_smoothing=params.label_smoothing)}

    return fit(
        run,
        network=network,
        optimiser=optimise.Optimiser(optimise.groups(network, factor, decay), recipe, rate),
        data=batches,
        loss=loss,
        plan=Plan(
            epochs,
            patience=params.early_stopping.patience if params.early_stopping else None,
            trainable=trainable,
        ),
        validate=evaluate.validator(run, network, validate_on, metric) if validate_on else None,
    )


def closed(value: N | None) -> N:
    """A default that `Training.resolve` has closed."""
    if value is None:
        raise AssertionError("the parameters were not resolved")
    return value
