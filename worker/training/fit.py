"""The one training loop.

A method gives it a network, an optimiser, batches and a loss; the loop owns order, freezing, schedules, metrics,
validation, selection, snapshots and commands.  There is nothing to subclass: a loss closes over what it needs.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from worker.metrics.meter import Meter
from worker.runtime.run import Run, State
from worker.training.ema import Average
from worker.training.freezing import Freezer, Trainable
from worker.training.optimizers import Optimiser

PROGRESS_EVERY_S = 0.5
MAX_LOG_INTERVAL = 100  # steps; also how late a diverged loss may be noticed
LOG_POINTS = 200  # a point of the training series about so often in a run


class Stateful(Protocol):
    """What must survive a resume: a term with random maps or averages, a discriminator, a stream of batches."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> object: ...


class Sized(Protocol):
    """A batch; its length is the number of examples that its losses are means over."""

    def __len__(self) -> int: ...


B = TypeVar("B", bound=Sized)
B_co = TypeVar("B_co", bound=Sized, covariant=True)


class Batches(Stateful, Protocol[B_co]):
    """A stream of batches; which examples batch i of epoch e holds is a pure function of (seed, e, i)."""

    @property
    def per_epoch(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[B_co]:
        """Batches `start`, `start` + 1, … of `epoch`.  Each is made when it is asked for, and not before."""


@dataclass(frozen=True)
class Moment:
    """Where in the training a step is; `progress` runs from 0 to nearly 1, and what ramps is a function of it."""

    step: int
    epoch: int
    progress: float


Losses = Mapping[str, Tensor]  # scalars: `loss` is minimised, all are logged as series of their names
Loss = Callable[[B, Moment], Losses]
Backward = Callable[[B, Callable[[B], Losses]], Losses]


@dataclass(frozen=True)
class Validation:
    """`values` are logged as series; of two validations the one with the greater `rank` is the better."""

    values: dict[str, float]
    rank: tuple[float, ...]


def everything(epoch: int) -> Trainable:
    return None


@dataclass(frozen=True)
class Plan:
    """How long to train, and what to keep.

    `validate_every` counts epochs; `patience` is the number of epochs without improvement after which to stop;
    `trainable` says for each epoch what learns.  `keep` is which weights the network ends with: those that
    validated best, or the last.  `average` is the decay of a moving average of the weights, which then stands for them.
    `turn` is the optimiser step from which something else is minimised (0: nothing else): the optimiser starts afresh,
    and weights that were validated before are not kept.
    """

    epochs: int
    validate_every: int = 1
    patience: int | None = None
    trainable: Callable[[int], Trainable] = everything
    keep: Literal["best", "last"] = "best"
    average: float | None = None
    turn: int = 0


@dataclass(frozen=True)
class Fitted:
    """What came of a training; steps and epochs count from 1, `best` are the validation's values at `best_epoch`."""

    steps: int
    epochs: int
    stopped_early: bool
    best_epoch: int | None = None
    best: dict[str, float] | None = None


@dataclass(frozen=True)
class _Best:
    epoch: int
    values: dict[str, float]
    rank: tuple[float, ...]
    weights: dict[str, Tensor]
    beside: dict[str, dict[str, Tensor]]


def fit(
    run: Run,
    *,
    network: nn.Module,
    optimiser: Optimiser,
    data: Batches[B],
    loss: Loss[B],
    plan: Plan,
    validate: Callable[[], Validation] | None = None,
    beside: Mapping[str, nn.Module] | None = None,
    stateful: Mapping[str, Stateful] | None = None,
    backward: Backward[B] | None = None,
    phase: str = "train",
) -> Fitted:
    """Train `network` in place; afterwards it holds the weights that `plan.keep` names, and is in evaluation mode.

    `beside` are modules that learn with it, and are kept with it.  `stateful` is whatever else changes as the training
    goes on; it joins the snapshot.  `backward` leaves the gradient of a batch's loss, if not all at once.

    Raises:
        Failure: `diverged`, the loss was no finite number.
        Interrupted: see `Run.heed`.
    """
    done = run.result(phase)
    if done is None:
        loop = _Loop(
            run, network, optimiser, data, loss, plan, validate, dict(beside or {}), dict(stateful or {}), backward
        )
        done = loop.train(phase)
    else:
        _set_random_state(run.device, done["random"])
        if "data" in done:  # not in snapshots of version 0.1.0
            data.load_state_dict(done["data"])  # a later phase may go on with the same stream
            for name, part in (stateful or {}).items():
                part.load_state_dict(done["stateful"][name])
    network.load_state_dict(done["network"])
    for name, module in (beside or {}).items():
        module.load_state_dict(done["beside"][name])
    run.done(phase, done, done["fitted"]["steps"])
    network.eval()
    return Fitted(**done["fitted"])


class _Loop(Generic[B]):
    def __init__(
        self,
        run: Run,
        network: nn.Module,
        optimiser: Optimiser,
        data: Batches[B],
        loss: Loss[B],
        plan: Plan,
        validate: Callable[[], Validation] | None,
        beside: dict[str, nn.Module],
        stateful: dict[str, Stateful],
        backward: Backward[B] | None,
    ) -> None:
        self._run, self._network, self._optimiser, self._data = run, network, optimiser, data
        self._loss, self._plan, self._validate = loss, plan, validate
        self._beside, self._stateful, self._backward = beside, stateful, backward
        self._average = None if plan.average is None else Average(network, plan.average)
        self._freezer = Freezer(network)
        self._meter = Meter()
        self._total = plan.epochs * data.per_epoch
        self._log_interval = min(MAX_LOG_INTERVAL, max(1, self._total // LOG_POINTS))
        self._step = 0
        self._validated_at = 0
        self._best: _Best | None = None
        self._stopped = False
        self._clock = _Clock(run, self._total)

    def train(self, phase: str) -> State:
        resumed = self._run.resumed(phase)
        if resumed is not None:
            self._restore(resumed)
        with self._run.phase(phase, self._capture):
            self._clock.start(self._step)
            self._validate_if_due()
            while self._step < self._total and not self._stopped:
                self._epoch()
                self._validate_if_due()
            self._log_points(wait=True)
        self._clock.end(self._step)
        self._freezer.release()
        return self._finish()

    def _epoch(self) -> None:
        epoch, start = divmod(self._step, self._data.per_epoch)
        self._freezer.train(self._plan.trainable(epoch))
        self._optimiser.prepare()
        batches = self._data.epoch(epoch, start)
        for _ in range(start, self._data.per_epoch):
            self._run.heed()  # before the batch is drawn: a snapshot must not have drawn what was not trained on
            self._update(next(batches), epoch)

    def _update(self, batch: B, epoch: int) -> None:
        if self._plan.turn and self._step == self._plan.turn:
            self._optimiser.forget()
        moment = Moment(self._step, epoch, self._step / self._total)
        if self._backward is not None:
            losses = self._backward(batch, lambda part: self._loss(part, moment))
        else:
            losses = self._loss(batch, moment)
            self._optimiser.zero_grad()
            losses["loss"].backward()  # type: ignore[no-untyped-call]
        self._optimiser.step(self._step)
        if self._average is not None:
            self._average.update()
        self._step += 1
        self._meter.add(losses, len(batch))
        if self._step % self._log_interval == 0 or self._step == self._total:
            self._meter.mark(self._step)
        self._log_points()
        self._clock.tick(self._step)

    def _log_points(self, *, wait: bool = False) -> None:
        """Of the training, as far as the device has come."""
        for step, means in self._meter.read(wait=wait):
            self._log("train", step, means)
            self._log("train", step, {"learning_rate": self._optimiser.learning_rate(step - 1)})

    def _validate_if_due(self) -> None:
        """At the end of an epoch; also right after a resume, if it was the validation that was interrupted."""
        epochs, within = divmod(self._step, self._data.per_epoch)
        due = self._step == self._total or (epochs > 0 and epochs % self._plan.validate_every == 0)
        if self._validate is None or within or not due or self._validated_at == self._step:
            return
        self._log_points(wait=True)
        self._meter.require_finite(self._step)
        with self._averaged():
            self._network.eval()
            found = self._validate()
            self._validated_at = self._step
            self._log("validation", self._step, found.values)
            if self._best is None or found.rank > self._best.rank or self._turned_since(self._best):
                self._best = _Best(epochs, found.values, found.rank, *self._weights())
        patience = self._plan.patience
        self._stopped = patience is not None and epochs - self._best.epoch >= patience

    def _turned_since(self, best: _Best) -> bool:
        return best.epoch * self._data.per_epoch <= self._plan.turn < self._step

    def _log(self, split: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log(values, split, step, step / self._data.per_epoch)

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self._average is None else self._average.applied()

    def _weights(self) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
        """Copies: of the network's, and of those that learn beside it."""
        beside = {name: _copy(module.state_dict()) for name, module in self._beside.items()}
        return _copy(self._network.state_dict()), beside

    def _finish(self) -> State:
        best = self._best
        if best is not None and self._plan.keep == "best":
            network, beside = best.weights, best.beside
        else:
            with self._averaged():
                network, beside = self._weights()
        fitted = Fitted(
            steps=self._step,
            epochs=self._step // self._data.per_epoch,
            stopped_early=self._stopped and self._step < self._total,
            best_epoch=None if best is None else best.epoch,
            best=None if best is None else best.values,
        )
        return {
            "network": network,
            "beside": beside,
            "fitted": asdict(fitted),
            "data": self._data.state_dict(),
            "stateful": {name: part.state_dict() for name, part in self._stateful.items()},
            "random": _random_state(self._run.device),
        }

    def _capture(self) -> tuple[int, State]:
        self._log_points(wait=True)
        return self._step, {
            "step": self._step,
            "validated_at": self._validated_at,
            "stopped": self._stopped,
            "best": None if self._best is None else vars(self._best),
            "network": self._network.state_dict() if self._average is None else dict(self._average.trained),
            "beside": {name: module.state_dict() for name, module in self._beside.items()},
            "average": None if self._average is None else self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "data": self._data.state_dict(),
            "meter": self._meter.state_dict(),
            "stateful": {name: part.state_dict() for name, part in self._stateful.items()},
            "random": _random_state(self._run.device),
        }

    def _restore(self, state: State) -> None:
        self._step, self._validated_at = state["step"], state["validated_at"]
        self._stopped = state["stopped"]
        self._best = None if state["best"] is None else _Best(**state["best"])
        self._network.load_state_dict(state["network"])
        for name, module in self._beside.items():
            module.load_state_dict(state["beside"][name])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._data.load_state_dict(state["data"])
        self._meter.load_state_dict(state["meter"])
        for name, part in self._stateful.items():
            part.load_state_dict(state["stateful"][name])
        _set_random_state(self._run.device, state["random"])


class _Clock:
    """Reports progress about twice a second, with the time left at the mean speed since the start or the resume."""

    def __init__(self, run: Run, total: int) -> None:
        self._run, self._total = run, total
        self._first = 0
        self._started_at = self._told_at = 0.0

    def start(self, step: int) -> None:
        self._first, self._started_at = step, time.monotonic()
        self._run.tell(step, self._total)

    def tick(self, step: int) -> None:
        now = time.monotonic()
        if now - self._told_at < PROGRESS_EVERY_S:
            return
        self._told_at = now
        left = (self._total - step) * (now - self._started_at) / (step - self._first)
        self._run.tell(step, self._total, left)

    def end(self, step: int) -> None:
        self._run.tell(step, step, 0.0)


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
