"""A method's view of the process that runs it: where to compute, whom to tell, when to stop, what to go on from."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from worker.engine import seeds
from worker.engine.contract import Channel, Event, Interrupted, Snapshot

State = dict[str, Any]  # tensors, numbers, strings, lists and dicts of them: what `torch.load(weights_only=True)` reads


class Run:
    """One run of one method, from its first batch or from a snapshot.

    A run is a sequence of named phases, mostly one.  A snapshot holds the final state of every phase that is done
    and the state of the one that is under way, so a method just runs again from its top: a phase that was done
    restores its result, the one that was under way goes on from its very step.
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
    ) -> None:
        self.seed = seed
        self.device = device or torch.device("cpu")
        self.workdir = workdir
        self._channel = channel
        self._every_s = snapshot_every_s
        self._saved_at = time.monotonic()
        self._state = _read(snapshot)
        self._capture: Callable[[], State] | None = None
        self._written = 0

    @property
    def threads(self) -> int | None:
        """How many threads the run began with, where it is resumed: sums come out the same only with as many."""
        threads = self._state.get("threads")
        return None if threads is None else int(threads)

    def emit(self, event: Event) -> None:
        self._channel.emit(event)

    def heed(self) -> None:
        """Obey a command, and save a snapshot when one is due.  Cheap enough for every batch.

        Raises:
            Interrupted: cancel, pause or shutdown was ordered; but for cancel a snapshot was emitted first.
        """
        command = self._channel.command()
        if command is not None:
            if command != "cancel":
                self._save()
            raise Interrupted(command)
        if self._capture is not None and time.monotonic() - self._saved_at >= self._every_s:
            self._save()

    def generator(self, *labels: str | int) -> torch.Generator:
        """A fresh stream of random numbers on the run's device, a pure function of the seed and `labels`."""
        return seeds.generator(self.seed, *labels, device=self.device)

    def result(self, phase: str) -> State | None:
        """The final state of a phase that was done before the snapshot."""
        state: State | None = self._state["done"].get(phase)
        return state

    def resumed(self, phase: str) -> State | None:
        """The state of the phase that was under way at the snapshot, if it is this one; given once."""
        live: State | None = self._state["live"]
        if live is None or live["phase"] != phase:
            return None
        self._state["live"] = None
        state: State = live["state"]
        return state

    @contextmanager
    def phase(self, name: str, capture: Callable[[], tuple[int, State]]) -> Iterator[None]:
        """Within, snapshots hold what `capture` returns: the step, and the phase's whole state at that moment."""

        def live() -> State:
            step, state = capture()
            return {"phase": name, "step": step, "state": state}

        self._capture = live
        try:
            yield
        finally:
            self._capture = None

    def done(self, phase: str, state: State) -> None:
        """Later snapshots hold `state` as the result of `phase`."""
        self._state["done"][phase] = state

    def _save(self) -> None:
        live = self._capture() if self._capture else self._state["live"]  # what was not taken up yet must not be lost
        state = self._state | {"threads": torch.get_num_threads(), "live": live}
        step = 0 if live is None else live["step"]
        self._written += 1
        path = self.workdir / f"snapshot-{step}-{self._written}.pt"
        torch.save(state, path)
        self.emit(Snapshot(path, step))
        self._saved_at = time.monotonic()


def _read(snapshot: Path | None) -> State:
    if snapshot is None:
        return {"threads": None, "done": {}, "live": None}
    state: State = torch.load(snapshot, map_location="cpu", weights_only=True)
    return state
