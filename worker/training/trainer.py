"""The one training loop.

A method gives a `Trainer` batches and a loss; order, freezing, learning rates, averages, accumulation, metrics,
validation, selection, snapshots and commands are the trainer's.  There is nothing to subclass: a loss closes over what
it needs.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Generic, Literal

import torch
from torch import Tensor, nn

from app.methods.training import Schedule
from worker.metrics.meter import Meter
from worker.networks.classifier import Classifier
from worker.runtime.contract import Failure, Note
from worker.runtime.rehearsal import Rehearsal
from worker.runtime.run import Hits, Run, State
from worker.training import batch_norm, optimizers, schedules
from worker.training.accumulation import Accumulator
from worker.training.clock import Clock
from worker.training.ema import Average
from worker.training.freezing import Freezer, Scope
from worker.training.optimizers import Optimiser
from worker.training.protocols import B, Batches, Fitted, Loss, Losses, Moment, Stateful, Validation
from worker.training.sharpness import Ascent
from worker.training.swad import DenseAverage

PHASE = "train"  # of the run
STATISTICS_OF = 4096  # images, at least, or an epoch
MAX_LOG_INTERVAL = 100  # steps; also how late a diverged loss may be noticed
LOG_POINTS = 200  # a point of the training series about so often in a run


class Trainer:
    """Trains a classifier in place, as a schedule says.

    `scope` says what of it learns, and how fast.  `companions` are modules that learn with it, and are kept with it, by
    name.  `stateful` is whatever else changes as the training goes on; it joins the snapshot.  `anew` is asked after
    every step, and may give weights with which the network, and the optimiser, begin anew.
    """

    def __init__(
        self,
        run: Run,
        classifier: Classifier,
        schedule: Schedule,
        scope: Scope | None = None,
        *,
        companions: Mapping[str, nn.Module] | None = None,
        stateful: Mapping[str, Stateful] | None = None,
        anew: Callable[[], Mapping[str, Tensor] | None] | None = None,
    ) -> None:
        self.run, self.classifier, self.network, self.schedule = run, classifier, classifier.module, schedule
        self.scope = scope or Scope()
        self.companions, self.stateful = dict(companions or {}), dict(stateful or {})
        self.anew = anew

    def fit(
        self,
        batches: Batches[B],
        loss: Loss[B],
        validate: Callable[[], Validation] | None = None,
        *,
        keep: Literal["best", "last"] = "best",
        restart_at: int = 0,
    ) -> Fitted:
        """Minimise `loss` over `batches`; afterwards the network is in evaluation mode, with the weights that `keep`
        names: those that validated best, or the last.

        `restart_at` is the optimiser step from which something else is minimised (0: nothing else): the optimiser
        starts afresh, and weights that were validated before are not kept.

        Raises:
            Failure: `diverged`, the loss was no finite number; `does_not_fit`, there is no validation to average by.
            Interrupted: see `Run.checkpoint_or_stop`.
        """
        run, network = self.run, self.network
        if self.schedule.swad is not None and validate is None:
            raise Failure("does_not_fit", "`swad` goes by the validation loss, and there are no validation images.")
        done = run.result(PHASE)
        if done is None:
            done = _Loop(self, batches, loss, validate, keep, restart_at).train()
        else:
            _set_random_state(run.device, done["random"])
            if "data" in done:  # not in snapshots of version 0.1.0
                batches.load_state_dict(done["data"])  # a later phase may go on with the same stream
                for name, part in self.stateful.items():
                    part.load_state_dict(done["stateful"][name])
        network.load_state_dict(done["network"])
        for name, module in self.companions.items():
            module.load_state_dict(done["beside"][name])
        run.done(PHASE, done, done["fitted"]["steps"])
        network.eval()
        return Fitted(**done["fitted"])


@dataclass(frozen=True)
class _Best:
    """The validation that ranked first, and the weights that it saw: the network's, and the companions' by name."""

    epoch: int
    values: dict[str, float]
    rank: tuple[float, ...]
    weights: dict[str, Tensor]
    beside: dict[str, dict[str, Tensor]]  # so named in snapshots


class _Loop(Generic[B]):
    """The state of a training, from its first step or from a snapshot to its end."""

    def __init__(
        self,
        trainer: Trainer,
        batches: Batches[B],
        loss: Loss[B],
        validate: Callable[[], Validation] | None,
        keep: Literal["best", "last"],
        restart_at: int,
    ) -> None:
        run, network, schedule = trainer.run, trainer.network, trainer.schedule
        self._run, self._network, self._schedule, self._scope = run, network, schedule, trainer.scope
        self._companions, self._stateful, self._anew = trainer.companions, trainer.stateful, trainer.anew
        self._batches, self._loss, self._validate = batches, loss, validate
        self._classifier = trainer.classifier
        self._keep, self._restart_at = keep, restart_at
        self._total = schedule.epochs * batches.per_epoch
        self._optimiser = self._optimiser_of_all()
        self._accumulator = Accumulator(run, network, schedule.micro_batch_size) if schedule.divisible else None
        self._average = None if schedule.average is None else Average(network, schedule.average)
        modules = [network, *trainer.companions.values()]
        self._dense = None if schedule.swad is None else DenseAverage(network, schedule.swad)
        self._held: tuple[int, State] | None = None
        self._ascent = None if schedule.sharpness is None else Ascent(modules, schedule.sharpness)
        self._freezer = Freezer(network)
        self._meter = Meter()
        self._log_interval = min(MAX_LOG_INTERVAL, max(1, self._total // LOG_POINTS))
        self._step = 0
        self._validated_at = 0
        self._hits: Hits | None = None  # of the last validation
        self._scored_at = 0  # at a rung of a tournament
        self._best: _Best | None = None
        self._stopped = False
        self._clock = Clock(run, self._total)

    def _optimiser_of_all(self) -> Optimiser:
        """The network's parameters at their shares of the learning rate, the companions' at the whole of it."""
        schedule = self._schedule
        groups = optimizers.groups(self._network, self._scope.factor, schedule.weight_decay)
        for module in self._companions.values():
            groups += optimizers.groups(module, lambda name: 1.0, schedule.weight_decay)
        warmup_steps = round(schedule.warmup_epochs * self._batches.per_epoch)
        return Optimiser(groups, schedule, schedules.factor(schedule.scheduler, self._total, warmup_steps))

    def train(self) -> State:
        resumed = self._run.resumed(PHASE)
        if resumed is not None:
            self._restore(resumed)
        with self._run.phase(PHASE, self._capture):
            self._clock.start(self._step)
            self._validate_if_due()
            if self._run.rehearsal is not None:
                self._rehearse(self._run.rehearsal)
            while self._step < self._total and not self._stopped:
                self._pause_if_due()
                self._epoch()
                self._validate_if_due()
            self._log_points(wait=True)
            self._settle_average()
        self._clock.end(self._step)
        self._freezer.release()
        return self._finish()

    def _epoch(self) -> None:
        epoch, start = divmod(self._step, self._batches.per_epoch)
        self._freezer.train(self._scope.trainable(epoch), statistics=self._scope.statistics)
        self._optimiser.prepare()
        batches = self._batches.epoch(epoch, start)
        steps = range(start, self._batches.per_epoch)
        for _ in steps if self._run.rehearsal is None else self._run.rehearsal.some(steps):
            # Before the batch is drawn: a snapshot must not have drawn what was not trained on.
            self._run.checkpoint_or_stop()
            self._update(next(batches), epoch)

    def _rehearse(self, rehearsal: Rehearsal) -> None:
        """Go through two of all epochs in which the same learns: the others take as long as the second, since the first
        also does what is done once."""
        per_epoch, epochs = self._batches.per_epoch, self._schedule.epochs
        for _, alike in groupby(range(epochs), self._scope.trainable):
            rest = list(alike)
            for epoch in rest[:2]:
                before_s = rehearsal.seconds
                self._epoch()
                self._step = (epoch + 1) * per_epoch
                self._validate_if_due()
            rehearsal.leave_out(len(rest[2:]) * (rehearsal.seconds - before_s))
            self._step = (rest[-1] + 1) * per_epoch

    def _update(self, batch: B, epoch: int) -> None:
        if self._restart_at and self._step == self._restart_at:
            self._optimiser.forget()
            if self._dense is not None:
                self._dense.forget()
        moment = Moment(self._step, epoch, self._step / self._total)
        losses = self._gradient(batch, moment)
        self._optimiser.step(self._step)
        if self._anew is not None and (weights := self._anew()) is not None:
            self._network.load_state_dict(weights)
            self._optimiser.forget()
        if self._average is not None:
            self._average.update()
        if self._dense is not None:
            self._dense.update()
        self._step += 1
        self._meter.add(losses, len(batch))
        if self._step % self._log_interval == 0 or self._step == self._total:
            self._meter.mark(self._step)
        self._log_points()
        self._clock.tick(self._step)

    def _gradient(self, batch: B, moment: Moment) -> Losses:
        """Leave the gradient to be followed; the losses are those of the weights as they are."""
        if self._ascent is None:
            return self._backward(batch, moment)
        random = _random_state(self._run.device)  # the same units drop out up there
        losses = self._backward(batch, moment)
        _set_random_state(self._run.device, random)
        with self._ascent.above():
            self._backward(batch, replace(moment, above=True))
        return losses

    def _backward(self, batch: B, moment: Moment) -> Losses:
        if self._accumulator is not None:
            return self._accumulator.backward(batch, lambda part: self._loss(part, moment))
        losses = self._loss(batch, moment)
        self._optimiser.zero_grad()
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        return losses

    def _log_points(self, *, wait: bool = False) -> None:
        """Log points of the training, as far as the device has come."""
        for step, means in self._meter.read(wait=wait):
            self._log("train", step, means)
            self._log("train", step, {"learning_rate": self._optimiser.learning_rate(step - 1)})

    def _validate_if_due(self) -> None:
        """Validate at the end of an epoch; also right after a resume, if it was the validation that was interrupted."""
        epochs, within = divmod(self._step, self._batches.per_epoch)
        if self._validate is None or within or not epochs or self._validated_at == self._step:
            return
        self._log_points(wait=True)
        self._meter.require_finite(self._step)
        with self._averaged():
            self._network.eval()
            validation = self._validate()
            self._validated_at, self._hits = self._step, validation.hits
            self._log("validation", self._step, validation.values)
            if self._best is None or validation.rank > self._best.rank or self._restarted_since(self._best):
                self._best = _Best(epochs, validation.values, validation.rank, *self._weights())
        patience = self._schedule.patience
        self._stopped = patience is not None and epochs - self._best.epoch >= patience
        if self._dense is not None and self._dense.validated(epochs, validation.values["loss"]):
            self._stopped = True

    def _pause_if_due(self) -> None:
        """Pause at the end of the epoch in which the run's rung lies, once the network has been judged there.

        A run that was resumed there without a further rung pauses again, at once.
        """
        if self._step % self._batches.per_epoch or not self._run.at_rung(self._step, self._total):
            return
        if self._scored_at != self._step:
            self._run.score(self._judged(), self._step, self._total)
            self._scored_at = self._step
        self._run.pause()

    def _judged(self) -> Hits:
        """Hits of the validation that there was, if it looked at the target's labels; else of one for this."""
        if self._hits is not None:
            return self._hits
        assert self._run.rung is not None
        with self._averaged():
            self._network.eval()
            return self._run.rung.judge(self._classifier)

    def _settle_average(self) -> None:
        """Take the dense average for the network, with statistics of batch norm of its own, and say what it is.

        Snapshots until then hold what was before, so that a resume begins this again.
        """
        if self._dense is None:
            return
        self._held = deepcopy(self._capture())
        averaged = self._dense.result()
        self._network.load_state_dict(averaged.mean)
        epochs = (
            f"the epochs {averaged.first} to {averaged.last}" if averaged.first < averaged.last else "the last epoch"
        )
        if self._dense.found:
            self._run.emit(Note("swad", f"The weights are the mean over all steps of {epochs}."))
        else:
            message = f"The validation loss went on falling, without a minimum: the weights are the mean over {epochs}."
            self._run.emit(Note("swad", message, "warning"))
        self._estimate_statistics()

    def _estimate_statistics(self) -> None:
        """Set the statistics of the batch norms that learn to the means over batches of the training."""
        epoch = self._step // self._batches.per_epoch
        self._freezer.train(self._scope.trainable(max(0, epoch - 1)), statistics=self._scope.statistics)
        following = [path for path, norm in batch_norm.layers(self._network).items() if norm.training]
        if not following:
            return
        batches = self._batches.epoch(epoch)
        with batch_norm.anew(self._network, following):
            seen = 0
            for _ in range(self._batches.per_epoch):
                self._run.checkpoint_or_stop()
                batch = next(batches)
                self._backward(batch, Moment(self._step, epoch, 1.0))
                seen += len(batch)
                if seen >= STATISTICS_OF:
                    break
        self._optimiser.zero_grad()

    def _restarted_since(self, best: _Best) -> bool:
        return best.epoch * self._batches.per_epoch <= self._restart_at < self._step

    def _log(self, split: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log(values, split, step, step / self._batches.per_epoch)

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self._average is None else self._average.applied()

    def _weights(self) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
        """Copies: of the network's, and of those that learn beside it."""
        beside = {name: _copy(module.state_dict()) for name, module in self._companions.items()}
        return _copy(self._network.state_dict()), beside

    def _finish(self) -> State:
        best = self._best
        if best is not None and self._keep == "best" and self._dense is None:
            network, beside = best.weights, best.beside
        else:
            with self._averaged():
                network, beside = self._weights()
        fitted = Fitted(
            steps=self._step,
            epochs=self._step // self._batches.per_epoch,
            stopped_early=self._stopped and self._step < self._total,
            best_epoch=None if best is None else best.epoch,
            best=None if best is None else best.values,
        )
        return {
            "network": network,
            "beside": beside,
            "fitted": asdict(fitted),
            "data": self._batches.state_dict(),
            "stateful": {name: part.state_dict() for name, part in self._stateful.items()},
            "random": _random_state(self._run.device),
        }

    def _capture(self) -> tuple[int, State]:
        if self._held is not None:
            return self._held
        self._log_points(wait=True)
        return self._step, {
            "step": self._step,
            "validated_at": self._validated_at,
            "scored_at": self._scored_at,
            "stopped": self._stopped,
            "best": None if self._best is None else vars(self._best),
            "network": self._network.state_dict() if self._average is None else dict(self._average.trained),
            "beside": {name: module.state_dict() for name, module in self._companions.items()},
            "average": None if self._average is None else self._average.state_dict(),
            "dense": None if self._dense is None else self._dense.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "data": self._batches.state_dict(),
            "meter": self._meter.state_dict(),
            "stateful": {name: part.state_dict() for name, part in self._stateful.items()},
            "random": _random_state(self._run.device),
        }

    def _restore(self, state: State) -> None:
        self._step, self._validated_at = state["step"], state["validated_at"]
        self._scored_at = state.get("scored_at", 0)  # not in snapshots of version 0.1.0
        self._stopped = state["stopped"]
        self._best = None if state["best"] is None else _Best(**state["best"])
        self._network.load_state_dict(state["network"])
        for name, module in self._companions.items():
            module.load_state_dict(state["beside"][name])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if self._dense is not None:
            self._dense.load_state_dict(state["dense"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._batches.load_state_dict(state["data"])
        self._meter.load_state_dict(state["meter"])
        for name, part in self._stateful.items():
            part.load_state_dict(state["stateful"][name])
        _set_random_state(self._run.device, state["random"])


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(device: torch.device, state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
