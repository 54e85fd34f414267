"""A confined process gives up for good, before it reads what somebody has sent: its environment, the network, other
processes, endless computing.  Should a decoder be tricked into running foreign code, that code finds little to work
with."""

import ctypes
import os
import platform
import resource
import shutil
import struct
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

CPU_S, CPU_S_A_MIB = 600, 1.0  # processor time: so long for any file, and so much more for each MiB of it
KEPT = ("PATH", "LANG", "LANGUAGE", "TZ", "LC_", "OMP_", "MKL_", "OPENBLAS_", "ORT_", "PYTHON", "LD_")  # prefixes

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1  # linux/seccomp.h
_KILL, _REFUSE, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x10000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


class _Machine(NamedTuple):
    """A processor's system calls by their numbers."""

    audit: int  # AUDIT_ARCH_…
    seccomp: int
    numbers: Mapping[str, int]


_EVERYWHERE = {"clone3": 435, "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424, "io_uring_setup": 425}
# fmt: off
_MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, _EVERYWHERE | {
        "socket": 41, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "kill": 62, "tkill": 200,
        "tgkill": 234, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "prlimit64": 302,
        "setrlimit": 160, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250, "add_key": 248, "request_key": 249,
        "open_by_handle_at": 304, "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246,
        "kexec_file_load": 320, "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "iopl": 172, "ioperm": 173,
    }),
    "aarch64": _Machine(0xC00000B7, 277, _EVERYWHERE | {
        "socket": 198, "clone": 220, "execve": 221, "execveat": 281, "kill": 129, "tkill": 130, "tgkill": 131,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "prlimit64": 261, "setrlimit": 164,
        "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "bpf": 280,
        "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219, "add_key": 217, "request_key": 218,
        "open_by_handle_at": 265, "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104,
        "kexec_file_load": 294, "reboot": 142, "swapon": 224, "swapoff": 225, "acct": 89,
    }),
}
# fmt: on


def missing() -> str | None:
    """The reason why system calls cannot be filtered here; None where they can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no seccomp"
    if platform.machine() not in _MACHINES:
        return f"its system calls are not known for {platform.machine()}"
    if not Path("/proc/sys/kernel/seccomp").is_dir():
        return "the kernel has no seccomp"
    return None


def confine(workdir: Path, inputs: Collection[Path], memory_bytes: int, *, network: bool) -> None:
    """Confine this process, for good.  `network`: it has to fetch something, and keeps the network and what its
    environment says about that.

    Raises:
        OSError: the kernel refused; all limits but the filter of system calls hold.
    """
    if not network:
        _forget_environment(workdir)
    _limit(inputs, workdir, memory_bytes)
    if missing() is None:
        _filter(network=network)


def _forget_environment(workdir: Path) -> None:
    """Keys and addresses that it may hold, in the memory that /proc/self/environ shows, too."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    os.environ.clear()
    os.environ.update(kept | {"HOME": str(workdir), "TMPDIR": str(workdir)})
    tempfile.tempdir = None  # to be looked up again
    if sys.platform == "linux":
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[47]), int(fields[48])  # env_start and env_end, see proc(5)
        if 0 < start < end:
            ctypes.memset(start, 0, end - start)


def _limit(inputs: Collection[Path], workdir: Path, memory_bytes: int) -> None:
    size = sum(path.stat().st_size for path in inputs)
    for name, most in (
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, CPU_S + int(CPU_S_A_MIB * size / 2**20)),
        (resource.RLIMIT_FSIZE, shutil.disk_usage(workdir).free),
    ):
        hard = resource.getrlimit(name)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        later = 1 if name == resource.RLIMIT_CPU else 0  # at the hard one it would be killed without a name for it
        resource.setrlimit(name, (max(0, most - later), most))


def _filter(*, network: bool) -> None:
    """Refuse new processes and programs, signals to others, and (unless `network`) new sockets."""
    machine = _MACHINES[platform.machine()]
    instructions = list(_program(machine, os.getpid(), network=network))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in instructions))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    program = Program(len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        machine.seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "The kernel refused to filter system calls.")


def _program(machine: _Machine, pid: int, *, network: bool) -> Iterator[tuple[int, int, int, int]]:
    """Instructions of a BPF filter: (code, jump if true, jump if false, operand)."""
    refuse = (_RETURN, 0, 0, _REFUSE | _EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, machine.audit
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    yield _AT_LEAST, 0, 1, 0x40000000  # calls of another kind (x32), of which the filter knows nothing
    yield refuse
    for name, number in machine.numbers.items():
        if name == "socket" and network:
            continue
        elif name == "clone":  # threads are no processes
            yield _EQUAL, 0, 4, number
            yield _LOAD, 0, 0, _ARGUMENTS
            yield _ANY_BIT, 0, 1, _CLONE_THREAD
            yield allow
            yield refuse
        elif name in ("kill", "tgkill"):  # its own end alone
            yield _EQUAL, 0, 4, number
            yield _LOAD, 0, 0, _ARGUMENTS
            yield _EQUAL, 0, 1, pid
            yield allow
            yield refuse
        elif name == "prlimit64":  # to look, not to set
            yield _EQUAL, 0, 6, number
            yield _LOAD, 0, 0, _ARGUMENTS + 2 * 8
            yield _EQUAL, 0, 3, 0
            yield _LOAD, 0, 0, _ARGUMENTS + 2 * 8 + 4
            yield _EQUAL, 0, 1, 0
            yield allow
            yield refuse
        elif name == "clone3":  # whose flags cannot be seen: libraries take `clone` then
            yield _EQUAL, 0, 1, number
            yield _RETURN, 0, 0, _REFUSE | _ENOSYS
        else:
            yield _EQUAL, 0, 1, number
            yield refuse
    yield allow
