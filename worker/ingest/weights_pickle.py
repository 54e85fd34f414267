"""What torch.save writes, through PyTorch's loader for weights alone: it runs no code of the file's."""

import contextlib
import io
import pickletools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from worker.engine.contract import Failure

MAX_TUPLE = 10_000  # places in a tuple, those of tuples within it counted
MAX_PICKLE = 32 * 2**20
LEGACY_PICKLES = 5  # a magic number, a version, the system, the content, the names of the storages; then bytes

_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_SHORT_OF_MEMORY = ("not enough memory", "allocate memory")


def read(path: Path, content: bytes) -> Any:
    """`content` is the pickle in the zip file at `path`.

    Raises:
        Failure: `unsafe_pickle`, it asks for more than tensors and plain containers; or `corrupt_file`.
    """
    with _refusing():
        _inspect(io.BytesIO(content))
        return torch.load(path, map_location="cpu", weights_only=True, mmap=False)  # mapped, storages are not measured


def read_legacy(path: Path) -> Any:
    """The form that torch.save wrote before PyTorch 1.6.

    Raises:
        Failure: see `read`.
    """
    with _refusing():
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                if file.peek(1):
                    _inspect(file)
        return torch.load(path, map_location="cpu", weights_only=True)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what PyTorch will do otherwise one day
            yield
    except (MemoryError, Failure):
        raise
    except Exception as error:  # a pickle is a program, and a wrong one may end in nearly anything
        if any(words in str(error) for words in _SHORT_OF_MEMORY):  # a RuntimeError of PyTorch's allocator
            raise MemoryError(str(error)) from error
        raise _refusal(error) from error


def _refusal(error: Exception) -> Failure:
    wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
    if wanted is None:
        return Failure("corrupt_file", f"The file is damaged, or was not written by torch.save: {_last(error)!r}.")
    return Failure(
        "unsafe_pickle", f"The file asks for {wanted[1]}: save `model.state_dict()`, which holds tensors alone."
    )


def _last(error: Exception) -> str:
    """Of what the loader says: before it stands advice on how to load the file without safety."""
    lines = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    return next(iter(lines.strip().splitlines()), type(error).__name__)[:200]


def _inspect(file: IO[bytes]) -> None:
    """Before any of the next pickle runs, refuse tuples within tuples without end: as a key, such a one is hashed by
    recursion in C, which crashes, or takes for ever where each holds another twice.
    """
    start = file.tell()
    stack: list[int] = []  # of everything: the places in its tuples
    marks: list[int] = []
    memo: dict[object, int] = {}
    for code, argument, position in pickletools.genops(file):
        if (position or 0) - start > MAX_PICKLE:
            raise ValueError("its description of the tensors is too long")
        if code.name == "MARK":
            marks.append(len(stack))
        elif code.name in _PUTS:
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif code.name in _GETS:
            stack.append(memo[argument])
        else:
            taken = _take(code, stack, marks)
            places = sum(taken) + 1 if code.name in _TUPLES else max(taken, default=1)
            if places > MAX_TUPLE:
                raise ValueError("it holds tuples within tuples without end")
            stack.extend([places] * len(code.stack_after))


def _take(code: pickletools.OpcodeInfo, stack: list[int], marks: list[int]) -> list[int]:
    """What an opcode takes from the stack: so many things, or all down to the last mark and so many below it."""
    count, marked = len(code.stack_before), pickletools.markobject in code.stack_before
    if marked:
        count = code.stack_before.index(pickletools.markobject)
        start = marks.pop() - count
    else:
        start = len(stack) - count
    if start < 0:
        raise ValueError("it takes more than it has")
    taken = stack[start:]
    del stack[start:]
    return taken
