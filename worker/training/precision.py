"""Memory layout and precision of a training.

On defaults in the usual layout and in float32, so that the same seed gives the same bytes however busy the machine is.
What is fastest is measured where that is asked for; then the clock decides, the first training of a job settles it for
all the others, and a resumed one keeps it.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from worker.runtime import device
from worker.runtime.contract import Note
from worker.runtime.run import Run
from worker.training.accumulation import ran_out
from worker.training.protocols import B, Loss, Losses, Moment

Layout = Literal["channels_last", "contiguous"]
Precision = Literal["float32", "bfloat16"]

SHORT_S = 60.0  # a training that takes no longer as it is, is not looked at
MOST_SHARE = 0.02  # of the training, that a look may take
CLEARLY = 1.1  # times as fast
TIMES = 4  # steps that are timed; the fastest counts
ELEMENTS = {"cpu": 2**20, "cuda": 2**27}  # of the input of such a step, at most

FORMATS: dict[Layout, torch.memory_format] = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}


@dataclass(frozen=True)
class Numerics:
    """bfloat16 is that of `torch.autocast`: weights, losses and norms stay float32."""

    layout: Layout
    precision: Precision

    @property
    def memory_format(self) -> torch.memory_format:
        return FORMATS[self.layout]


def usual(network: nn.Module) -> Numerics:
    layout: Layout = "channels_last" if device.memory_format(network) is torch.channels_last else "contiguous"
    return Numerics(layout, "float32")


@dataclass(frozen=True)
class Workload:
    """A training: batches of `batch_size` inputs of `shape` (without the batch), `steps` of them.

    Of several `precisions` the fastest is taken, the first if none is clearly faster; of the layouts too, if `layouts`.
    """

    shape: tuple[int, ...]
    batch_size: int
    steps: int
    precisions: tuple[Precision, ...]
    layouts: bool = True


def settle(run: Run, network: nn.Module, work: Workload) -> Numerics:
    """The layout and precision that a trial finds; what the run has settled before, in another of its parts or before
    it was resumed, stays."""
    if run.numerics is not None:
        return Numerics(**run.numerics)
    first = replace(usual(network), precision=work.precisions[0])
    fastest = _fastest(run.device, network, first, work)
    run.numerics = vars(fastest)
    if fastest != first:
        message = f"Trains in {fastest.precision} and {fastest.layout}, which was clearly faster in a trial."
        run.emit(Note("pace", message, data=vars(fastest)))
    return fastest


@contextmanager
def kept(numerics: Numerics, network: nn.Module) -> Iterator[None]:
    """Within, the network lies in memory as `numerics` says, and after it as usual."""
    as_usual = usual(network)
    if numerics.layout != as_usual.layout:
        network.to(memory_format=numerics.memory_format)
    try:
        yield
    finally:
        if numerics.layout != as_usual.layout:
            network.to(memory_format=as_usual.memory_format)


@contextmanager
def compiled(run: Run, numerics: Numerics, network: nn.Module, example: Tensor) -> Iterator[None]:
    """Within, the network is `torch.compile`d, if a step and a prediction of it succeed; `example` is a batch."""
    network.compile()
    try:
        try:
            _try(run, numerics, network, example)
        except Exception as error:  # noqa: BLE001  # a compiler that is missing, a network that it does not take, …
            network._compiled_call_impl = None
            reason = " ".join(str(error).strip().splitlines()[:2])  # often: who raised it, and what
            run.emit(Note("not_compiled", f"Trains without torch.compile: {reason}", "warning"))
        yield
    finally:
        network._compiled_call_impl = None


def _try(run: Run, numerics: Numerics, network: nn.Module, example: Tensor) -> None:
    """Nothing of it stays but what the compiler made."""
    buffers = [buffer.clone() for buffer in network.buffers()]
    x = example.contiguous(memory_format=numerics.memory_format) if example.ndim == 4 else example
    try:
        with torch.random.fork_rng(_gpus(run.device)), _autocast(numerics, run.device):
            network.train()(x).float().square().mean().backward()
            with torch.no_grad():
                network.eval()(x)
    finally:
        network.zero_grad()
        for buffer, before in zip(network.buffers(), buffers, strict=True):
            buffer.copy_(before)


def _autocast(numerics: Numerics, on: torch.device) -> torch.autocast:
    return torch.autocast(on.type, torch.bfloat16, enabled=numerics.precision == "bfloat16")


def cast(numerics: Numerics, on: torch.device, loss: Loss[B]) -> Loss[B]:
    """The loss, computed in the precision of `numerics`."""
    if numerics.precision == "float32":
        return loss

    def within(batch: B, moment: Moment) -> Losses:
        with _autocast(numerics, on):
            return loss(batch, moment)

    return within


def _fastest(on: torch.device, network: nn.Module, first: Numerics, work: Workload) -> Numerics:
    """Layout first, then precision in that layout; as it was where there is no memory for a look."""
    layouts = tuple(FORMATS) if work.layouts and len(work.shape) == 3 else (first.layout,)
    choices = [{"layout": layout} for layout in layouts] + [{"precision": name} for name in work.precisions]
    examples = max(2, min(work.batch_size, ELEMENTS[on.type] // math.prod(work.shape)))
    try:
        look = _Look(on, network, (examples, *work.shape))
        once = look.seconds(first, times=1)  # the first step of all is no faster than those that are to come
        whole = work.steps * once * work.batch_size / examples
        if whole < SHORT_S or len(choices) * TIMES * once > MOST_SHARE * whole:
            return first
        best, took = first, look.seconds(first)
        for choice in choices:
            other = replace(best, **choice)
            if other != best and (seconds := look.seconds(other)) * CLEARLY < took:
                best, took = other, seconds
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        return first
    return best


class _Look:
    """Steps of a copy of the network on noise; nothing of the run is touched, its random numbers neither."""

    def __init__(self, on: torch.device, network: nn.Module, shape: tuple[int, ...]) -> None:
        self._on, self._network = on, deepcopy(network).train()
        self._x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(on)

    def seconds(self, numerics: Numerics, times: int = TIMES) -> float:
        """Seconds of a forward and a backward pass, the fastest of `times`."""
        self._network.to(memory_format=numerics.memory_format)
        x = self._x.contiguous(memory_format=numerics.memory_format) if self._x.ndim == 4 else self._x
        with torch.random.fork_rng(_gpus(self._on)):
            return min([self._step(x, numerics) for _ in range(times)])

    def _step(self, x: Tensor, numerics: Numerics) -> float:
        self._synchronise()
        start = time.perf_counter()
        with _autocast(numerics, self._on):
            output: Any = self._network(x)
            loss = output.float().square().mean()
        loss.backward()
        self._synchronise()
        return time.perf_counter() - start

    def _synchronise(self) -> None:
        if self._on.type == "cuda":
            torch.cuda.synchronize(self._on)


def _gpus(on: torch.device) -> list[torch.device]:
    return [on] if on.type == "cuda" else []
