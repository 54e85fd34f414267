"""Batches in parts whose gradients are accumulated, and smaller parts where memory runs out."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from worker.data.batches import bounds
from worker.runtime import device
from worker.runtime.contract import Note
from worker.runtime.run import Run, State
from worker.training.protocols import B, Losses

SMALLEST = 4  # spread evenly, no part then is a single example, on which batch norm would fail
_ALLOCATOR = (  # plain RuntimeErrors on the CPU; the last two are oneDNN's
    "not enough memory",
    "can't allocate memory",
    "bad_alloc",
    "could not create a primitive",
    "could not execute a primitive",
)


@runtime_checkable
class Divisible(Protocol):
    """A batch of which parts can be taken."""

    def __len__(self) -> int: ...

    def part(self, first: int, end: int) -> Self: ...


def ran_out(error: BaseException) -> bool:
    """Tell whether memory ran out, on whichever device."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _ALLOCATOR)
    )


def forward(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`network(x)` in evaluation mode, where memory runs out in halves.

    Raises:
        MemoryError, RuntimeError: memory ran out even for a single example.
    """
    try:
        return network(x)
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error) or len(x) < 2:
            raise
    half = len(x) // 2
    return torch.cat((forward(network, x[:half]), forward(network, x[half:])))


class Accumulator:
    """Leaves the gradient of a batch's loss, which must be a mean over its examples.

    A batch larger than `size` is spread evenly over parts of at most `size`, and a part counts as it has examples.
    Where memory runs out the size is halved, and the step begins again with the buffers and the random state that it
    began with.  The run keeps the size, for its snapshots and its result.
    """

    def __init__(self, run: Run, network: nn.Module, size: int | None = None) -> None:
        self._run, self._size = run, size
        self._parameters = list(network.parameters())
        self._kept = [_Kept(of_one_kind) for of_one_kind in _by_dtype(network.buffers())]

    def backward(self, batch: B, loss: Callable[[B], Losses]) -> Losses:
        """The losses of the whole batch.

        Raises:
            MemoryError, RuntimeError: memory ran out even in the smallest parts.
        """
        before = self._state()
        while True:
            for parameter in self._parameters:
                parameter.grad = None
            size = min(len(batch), self._size or len(batch), self._run.micro_batch_size or len(batch))
            try:
                return self._accumulate(batch, loss, size)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error) or size <= SMALLEST:
                    raise
            # Only here, where the error and what its frames hold are gone, is their memory free.
            self._restore(before)
            self._halve(max(SMALLEST, size // 2))

    def _accumulate(self, batch: B, loss: Callable[[B], Losses], size: int) -> Losses:
        cuts = bounds(len(batch), size)
        if len(cuts) == 2:
            losses = loss(batch)
            losses["loss"].backward()  # type: ignore[no-untyped-call]
            return losses
        assert isinstance(batch, Divisible)
        total: dict[str, Tensor] = {}
        for first, end in pairwise(cuts):
            share = (end - first) / len(batch)
            losses = loss(batch.part(first, end))
            (losses["loss"] * share).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                weighed = value.detach() * share
                total[name] = total[name] + weighed if name in total else weighed
        return total

    def _halve(self, size: int) -> None:
        self._run.micro_batch_size = size
        self._run.save_soon()
        device.give_back_memory()
        message = f"Memory ran out: the training goes on with micro-batches of at most {size} examples."
        self._run.emit(Note("batch_split", message, "warning", {"micro_batch_size": size}))

    def _state(self) -> State:
        device = self._run.device
        for kept in self._kept:
            kept.take()
        return {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def _restore(self, state: State) -> None:
        for kept in self._kept:
            kept.put_back()
        torch.set_rng_state(state["cpu"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self._run.device)


class _Kept:
    """Copies of tensors of one kind, in few kernels."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors, self._copies = tensors, [tensor.clone() for tensor in tensors]

    @torch.no_grad()
    def take(self) -> None:
        torch._foreach_copy_(self._copies, self._tensors)

    @torch.no_grad()
    def put_back(self) -> None:
        torch._foreach_copy_(self._tensors, self._copies)


def _by_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())
