"""The device that a run computes on, and what must be set so that it computes the same again."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils import deterministic

RESIDENT_SHARE = 1 / 3  # of a GPU's free memory that examples may take
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def resolve(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


@contextmanager
def reproducible(device: torch.device, seed: int, threads: int | None = None) -> Iterator[None]:
    """Within, the same seed gives the same bytes on the CPU, if `threads` is the same: sums are split by thread.

    PyTorch's global generator (dropout draws from it) starts at `seed`.  What was set before is set again after.
    A GPU is left free to choose its fastest kernels.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # a property of the module itself
    benchmark = torch.backends.cudnn.benchmark
    torch.set_num_threads(threads or before[0])
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Filling would cost a write of every buffer, and nothing reads one before it is written.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module itself
    torch.backends.cudnn.benchmark = True
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]  # a property of the module itself
        torch.backends.cudnn.benchmark = benchmark


def memory_format(network: nn.Module) -> torch.memory_format:
    """channels_last for convolutional networks: 1.02 to 1.7 times as fast on the CPUs measured, never slower."""
    convolutional = any(isinstance(module, nn.Conv2d) for module in network.modules())
    return torch.channels_last if convolutional else torch.contiguous_format


def place(network: nn.Module, device: torch.device) -> None:
    """Move the network to `device`, in the memory layout that it trains fastest in."""
    network.to(device=device)
    if memory_format(network) is torch.channels_last:
        network.to(memory_format=torch.channels_last)


def holds(nbytes: int, on: torch.device) -> bool:
    """Tell whether a GPU has room for so much, and for a training beside it."""
    free, _ = torch.cuda.mem_get_info(on)
    return nbytes <= free * RESIDENT_SHARE


def send(tensor: Tensor, to: torch.device) -> Tensor:
    """`tensor` on `to`.  Nobody waits for a GPU, as they would if the memory were not page-locked."""
    if to.type != "cuda" or tensor.is_cuda:
        return tensor.to(to)
    return tensor.pin_memory().to(to, non_blocking=True)


def give_back_memory() -> None:
    """Have the C library, and PyTorch on a GPU, give back to the system what is free."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)


def keep_memory() -> None:
    """Have the C library keep what is freed, for the next batch, instead of giving it back to the system.

    For a process whose business is training.  glibc returns large buffers at once and gets them again page by page:
    inference in batches of 256 and more was 2 to 4 times as slow with that.  Elsewhere nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 64 * 2**20)
