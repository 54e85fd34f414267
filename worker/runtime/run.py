"""A method's view of the process that runs it: where to compute, whom to tell, when to stop, what to go on from."""

import base64
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import torch
from numpy.typing import NDArray

from worker.runtime import seeds
from worker.runtime.cache import Cache
from worker.runtime.contract import Channel, Event, Interrupted, Metric, Note, Progress, Snapshot
from worker.runtime.rehearsal import Rehearsal

Hits = NDArray[np.bool_]
State = dict[str, Any]  # tensors, numbers, strings, lists and dicts of them: what `torch.load(weights_only=True)` reads


@dataclass(frozen=True)
class Rung:
    """A rung of a tournament: the run pauses `after` this share of its training's steps.

    `judge` tells for each of the validation images whether a network, a `Classifier` in evaluation mode, is right.
    """

    after: float | None
    judge: Callable[[Any], Hits]


class Run:
    """One run of one method, from its first batch or from a snapshot.

    A run is a sequence of named phases, mostly one.  A snapshot holds the final state of every phase that is done
    and the state of the one that is under way, so a method just runs again from its top: a phase that was done
    restores its result, the one that was under way goes on from its very step.
    In a `rehearsal` only some of it is done.
    """

    def __init__(
        self,
        channel: Channel,
        workdir: Path,
        *,
        seed: int = 0,
        device: torch.device | None = None,
        snapshot: Path | None = None,
        snapshot_every_s: float = 30.0,
        cache: Cache | None = None,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        self.seed = seed
        self.device = device or torch.device("cpu")
        self.workdir = workdir
        self.cache = cache
        self.rehearsal = rehearsal
        self.rung: Rung | None = None  # outside of a tournament
        self._began_at = time.monotonic()
        self._channel = channel
        self._ledger = _Ledger(_read(snapshot), snapshot_every_s)
        self._prefix = ""

    def part(self, name: str) -> Self:
        """The part of a run that goes by a name of its own: its phases and series begin with `name/`."""
        part = copy(self)
        part._prefix = f"{self._prefix}{name}/"
        return part

    @property
    def threads(self) -> int | None:
        """The number of threads that the run began with, where it is resumed: sums come out the same only with as
        many."""
        threads = self._ledger.state.get("threads")
        return None if threads is None else int(threads)

    @property
    def micro_batch_size(self) -> int | None:
        """The most examples of a batch that memory was found to hold at once; None: it never ran out."""
        size = self._ledger.state.get("part_size")
        return None if size is None else int(size)

    @micro_batch_size.setter
    def micro_batch_size(self, size: int) -> None:
        self._ledger.state["part_size"] = size

    @property
    def numerics(self) -> State | None:
        """The numerics that all parts of the run compute with, as a trial has settled them (see `numerics`); None: no
        trial was asked for."""
        numerics: State | None = self._ledger.state["pace"]
        return numerics

    @numerics.setter
    def numerics(self, numerics: State) -> None:
        self._ledger.state["pace"] = dict(numerics)

    def save_soon(self) -> None:
        """A snapshot is due at the next `checkpoint_or_stop`."""
        self._ledger.saved_at = -math.inf

    def emit(self, event: Event) -> None:
        self._channel.emit(event)

    def log(self, values: Mapping[str, float], split: str, step: int, epoch: float) -> None:
        """A point of each series."""
        for name, value in values.items():
            self.emit(Metric(self._prefix + name, split, step, epoch, value))

    def expect(self, steps: int) -> None:
        """Announce how many optimiser steps are to come in all phases together; without that, those of the phase under
        way count."""
        self._ledger.expected = steps

    def foresee(self, steps: int) -> None:
        """Announce how many optimiser steps are to come, for a caller that knows of more phases than the method
        does."""
        self._ledger.foreseen = steps

    def tell(self, step: int, total: int, eta_s: float | None = None) -> None:
        """Report that the phase under way has made `step` of its `total` steps; `eta_s` is the time left of these."""
        ledger = self._ledger
        whole = max(ledger.foreseen, ledger.expected, ledger.behind + total)
        if eta_s is not None and total > step:
            eta_s *= (whole - ledger.behind - step) / (total - step)
        self.emit(Progress(ledger.behind + step, whole, eta_s))

    def checkpoint_or_stop(self) -> None:
        """Obey a command, and save a snapshot when one is due.  Cheap enough for every batch.

        Raises:
            Interrupted: cancel, pause or shutdown was ordered; but for cancel a snapshot was emitted first.
        """
        ledger = self._ledger
        command = self._channel.command()
        if command is not None:
            if command != "cancel":
                self._save()
            raise Interrupted(command)
        if ledger.capture is not None and time.monotonic() - ledger.saved_at >= ledger.every_s:
            self._save()

    def at_rung(self, step: int, total: int) -> bool:
        """Tell whether the training, `step` of its `total` steps, has come to where the run is to pause.

        What is a part of the run by a name of its own has no rung: a probe before the training, a comparison after it.
        """
        after = None if self.rung is None or self._prefix else self.rung.after
        return after is not None and after * total <= step < total

    def pause(self) -> NoReturn:
        """Pause as if that had been ordered.

        Raises:
            Interrupted: always.
        """
        self._save()
        raise Interrupted("pause")

    def score_at_end(self, hits: Hits) -> None:
        """Tell what `score` does of the network that the run has made."""
        steps = max(1, self._ledger.trained)
        self.score(hits, steps, steps)

    def score(self, hits: Hits, step: int, total: int) -> None:
        """Tell how many validation images the network is right on after `step` of the `total` steps of its training,
        and on which: one bit each, the first in the highest of its byte, in base 64."""
        right, n = int(hits.sum()), len(hits)
        self.emit(Metric("score", "validation", step, step / total, right / n))
        data = {
            "share": step / total,
            "step": step,
            "total_steps": total,
            "right": right,
            "n": n,
            "hits": base64.b64encode(np.packbits(hits).tobytes()).decode(),
            "seconds": time.monotonic() - self._began_at,
        }
        message = f"Right on {right} of {n} validation images after {step} of {total} steps."
        self.emit(Note("score", message, data=data))

    def generator(self, *labels: str | int) -> torch.Generator:
        """A fresh stream of random numbers on the run's device, a pure function of the seed and `labels`."""
        return seeds.generator(self.seed, *labels, device=self.device)

    def result(self, phase: str) -> State | None:
        """The final state of a phase that was done before the snapshot."""
        state: State | None = self._ledger.state["done"].get(self._prefix + phase)
        return state

    def resumed(self, phase: str) -> State | None:
        """The state of the phase that was under way at the snapshot, if it is this one; given once."""
        live: State | None = self._ledger.state["live"]
        if live is None or live["phase"] != self._prefix + phase:
            return None
        self._ledger.state["live"] = None
        state: State = live["state"]
        return state

    @contextmanager
    def phase(self, name: str, capture: Callable[[], tuple[int, State]]) -> Iterator[None]:
        """Within, snapshots hold what `capture` returns: the step, and the phase's whole state at that moment."""

        def live() -> State:
            step, state = capture()
            return {"phase": self._prefix + name, "step": step, "state": state}

        self._ledger.capture = live
        try:
            yield
        finally:
            self._ledger.capture = None

    def done(self, phase: str, state: State, steps: int) -> None:
        """The phase has ended after `steps` steps; later snapshots hold `state` as its result."""
        self._ledger.state["done"][self._prefix + phase] = state
        self._ledger.behind += steps
        if not self._prefix:
            self._ledger.trained += steps

    def _save(self) -> None:
        ledger = self._ledger
        live = ledger.capture() if ledger.capture else ledger.state["live"]  # what was not taken up yet is not lost
        # no two snapshots have the same bytes: whoever replaces one may delete it
        state = ledger.state | {"threads": torch.get_num_threads(), "live": live, "written_by": secrets.token_hex(16)}
        step = ledger.behind + (0 if live is None else live["step"])
        ledger.written += 1
        path = self.workdir / f"snapshot-{step}-{ledger.written}.pt"
        torch.save(state, path)
        self.emit(Snapshot(path, step))
        ledger.saved_at = time.monotonic()


class _Ledger:
    """The state that all parts of a run share, how far it is, and when that was last saved."""

    def __init__(self, state: State, every_s: float) -> None:
        self.state = state
        self.every_s = every_s
        self.saved_at = time.monotonic()
        self.capture: Callable[[], State] | None = None
        self.written = 0
        self.expected = self.foreseen = 0
        self.behind = 0  # steps of the phases that are done
        self.trained = 0  # those of them that are of no part with a name of its own


def _read(snapshot: Path | None) -> State:
    if snapshot is None:
        return {"threads": None, "pace": None, "done": {}, "live": None}
    state: State = {"pace": None} | torch.load(snapshot, map_location="cpu", weights_only=True)
    return state
