"""The memory of this process: what it takes, the most that it has taken, and what it may still take.

On Linux by /proc; elsewhere only the peak is known.
"""

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

KIB = 1024
_STATUS, _MEMINFO, _CLEAR = Path("/proc/self/status"), Path("/proc/meminfo"), Path("/proc/self/clear_refs")
_GROUP = Path("/sys/fs/cgroup")
_FORGET_PEAK = "5"  # see proc(5)


def resident() -> int:
    """Bytes of memory that the process has now; 0 where nobody knows."""
    return _field(_STATUS, "VmRSS")


def peak(on: torch.device) -> int:
    """The most bytes that the process has had: of a GPU's memory where it computes there."""
    if on.type == "cuda":
        return torch.cuda.max_memory_allocated(on)
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)
    return _field(_STATUS, "VmHWM") or usage


def forget_peak(on: torch.device) -> None:
    """Begin anew, where the system lets that be done."""
    if on.type == "cuda":
        torch.cuda.reset_peak_memory_stats(on)
    with suppress(OSError):
        _CLEAR.write_text(_FORGET_PEAK)


def available(on: torch.device, limit_bytes: int | None = None) -> int:
    """Bytes that the process may take beyond what it has: what is free, and no more than the limit."""
    if on.type == "cuda":
        free = torch.cuda.mem_get_info(on)[0]
    else:
        free = min(_field(_MEMINFO, "MemAvailable") or sys.maxsize, _free_of_group())
    return free if limit_bytes is None else min(free, limit_bytes)


def bound(nbytes: int) -> None:
    """Have what is asked of the system beyond so many bytes more than now refused, for good: the process then runs out
    of memory, and is not killed."""
    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = _field(_STATUS, "VmData") + nbytes
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _field(path: Path, name: str) -> int:
    with suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * KIB
    return 0


def _free_of_group() -> int:
    """Bytes that the process's control group may still take, its cache of files aside."""
    with suppress(OSError, ValueError):
        most = int((_GROUP / "memory.max").read_text())
        stat = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return max(0, most - int((_GROUP / "memory.current").read_text()) + int(stat.get("inactive_file", 0)))
    return sys.maxsize
