"""Files of torch.save are read through PyTorch's loader for weights alone, which runs no code of the file's.

What training scripts put beside the weights (options, dates, paths, NumPy's numbers, configurations) is read as
nothing: an object that is only made and filled is a placeholder, and so is what a few constructors of plain data make.
Whatever else is called is refused.
"""

import _compat_pickle
import contextlib
import io
import pickletools
import re
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import torch
from torch import Tensor

from worker.runtime.contract import Failure

MAX_TUPLE = 10_000  # places in a tuple, those of tuples within it counted
MAX_PICKLE = 32 * 2**20
LEGACY_PICKLES = 5  # a magic number, a version, the system, the content, the names of the storages; then bytes

_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "UNICODE"}
MODULE = "module"  # what a persistent id begins with that is no storage
_CALLS = ("REDUCE", "NEWOBJ")
_FILLS = {"SETITEM": "dict", "SETITEMS": "dict", "APPEND": "list", "APPENDS": "list", "BUILD": "state"}
MAX_BESIDE = 100_000  # values in objects that are no containers, looked through for tensors

# Constructors of plain data: a call of one is a placeholder, too.  They are not called.
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
DATA = {
    *(
        f"pathlib.{name}"
        for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
    ),
    *(f"pathlib._local.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"{module}.{name}" for module in _NUMPY for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "argparse.Namespace",
    "decimal.Decimal",
    "fractions.Fraction",
    *(f"builtins.{name}" for name in ("int", "float", "str", "bool", "tuple", "range", "slice", "frozenset")),
}

_SHORT_OF_MEMORY = ("not enough memory", "allocate memory")


def read(path: Path, content: bytes) -> Any:
    """`content` is the pickle in the zip file at `path`.

    Raises:
        Failure: `unsafe_pickle`, it asks for more than tensors and plain containers; or `corrupt_file`.
    """
    with _refusing():
        uses = _inspect(io.BytesIO(content))
        with _placeholders(uses):
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=False
            )  # mapped, storages are not measured


def read_legacy(path: Path) -> Any:
    """The form that torch.save wrote before PyTorch 1.6.

    Raises:
        Failure: see `read`.
    """
    with _refusing():
        uses: _Uses = defaultdict(set)
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                if file.peek(1):
                    for name, how in _inspect(file).items():
                        uses[name] |= how
        with _placeholders(uses):
            return torch.load(path, map_location="cpu", weights_only=True)


class Nothing:
    """Stands for an object of the file's that is no weight; whatever it is made of and filled with is dropped.

    It is refused where that holds tensors: these might be the weights.
    """

    path = ""

    def __new__(cls, *args: object) -> Any:
        cls._refuse_tensors(args)
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        self._refuse_tensors(state)

    @classmethod
    def _refuse_tensors(cls, content: object) -> None:
        if _holds_tensors(content):
            raise _unsafe(cls.path, " with tensors in it")


class _Items(Nothing):
    """A kind of dict: read as a plain one, since there may be weights in it."""

    def __new__(cls, *args: object) -> Any:
        cls._refuse_tensors(args)
        return OrderedDict[Any, Any]()


class _List(list[Any]):
    """A kind of list: read as a plain one, since there may be weights in it."""

    def __new__(cls, *args: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


def _holds_tensors(content: object) -> bool:
    """True if there are tensors anywhere in the content, or it is too large to be looked through."""
    open_, entered = [content], set[int]()
    while open_:
        value = open_.pop()
        if isinstance(value, Tensor) or len(entered) > MAX_BESIDE:
            return True
        if isinstance(value, Mapping | list | tuple | set | frozenset) and id(value) not in entered:
            entered.add(id(value))
            open_.extend([*value.keys(), *value.values()] if isinstance(value, Mapping) else value)
    return False


@contextlib.contextmanager
def _placeholders(uses: "_Uses") -> Iterator[None]:
    """Within, PyTorch's loader finds placeholders by the names that it does not know; never in place of its own."""
    known: list[Any] = []
    for path, how in uses.items():
        if "REDUCE" in how and path not in DATA and path not in _CONTAINERS:
            continue  # it would be run: PyTorch refuses it
        kind = _CONTAINERS.get(path) or (_Items if "dict" in how else _List if "list" in how else Nothing)
        known.append((type(kind.__name__, (kind,), {"path": path}), path))
    with torch.serialization.safe_globals(known):
        yield


_CONTAINERS: dict[str, type[Any]] = {"collections.defaultdict": _Items, "collections.deque": _List}


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
    return _unsafe(wanted[1])


def _unsafe(wanted: str, how: str = "") -> Failure:
    message = f"The file asks for {wanted}{how}: save `model.state_dict()`, which holds tensors alone."
    return Failure("unsafe_pickle", message)


def _last(error: Exception) -> str:
    """The loader's own words on an error: before them stands advice on how to load the file without safety."""
    lines = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    return next(iter(lines.strip().splitlines()), type(error).__name__)[:200]


class _Item(NamedTuple):
    """An item on a pickle's stack: the places in its tuples; the global or text that it is, or begins with as a tuple
    does; the global that it is made by."""

    places: int = 1
    name: str | None = None
    maker: str | None = None
    text: str | None = None


_Uses = defaultdict[str, set[str]]  # what is done with each global, or with what it makes: REDUCE, dict, list, …


def _inspect(file: IO[bytes]) -> "_Uses":
    """Find what the next pickle does with the globals that it names; nothing of it runs.

    Tuples within tuples without end are refused: as a key, such a one is hashed by recursion in C, which crashes, or
    takes for ever where each holds another twice.
    """
    start = file.tell()
    stack: list[_Item] = []
    marks: list[int] = []
    memo: dict[object, _Item] = {}
    uses: _Uses = defaultdict(set)
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
            counts = [item.places for item in taken]
            places = sum(counts) + 1 if code.name in _TUPLES else max(counts, default=1)
            if places > MAX_TUPLE:
                raise ValueError("it holds tuples within tuples without end")
            name, maker, text = None, None, None
            if code.name in _TUPLES:
                text = taken[0].text if taken else None
                name = taken[1].name if text == MODULE and len(taken) > 1 else None
            elif code.name in _TEXTS:
                text = str(argument)
            elif code.name == "BINPERSID" and taken[0].text == MODULE:
                raise _unsafe(taken[0].name or "a module")  # a class with its source, as torch.save once wrote
            elif code.name == "GLOBAL":
                name = _global(str(argument))
                uses[name].add("GLOBAL")
            elif code.name in _CALLS and taken[0].name:
                maker = taken[0].name
                uses[maker].add(code.name)
            elif code.name in _FILLS and taken[0].maker:
                maker = taken[0].maker
                uses[maker].add(_FILLS[code.name])
            stack.extend([_Item(places, name, maker, text)] * len(code.stack_after))
    return uses


def _global(argument: str) -> str:
    """The name in today's Python of what a pickle for Python 2 names."""
    module, _, name = argument.partition(" ")
    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[module, name]
    else:
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    return f"{module}.{name}"


def _take(code: pickletools.OpcodeInfo, stack: list[_Item], marks: list[int]) -> list[_Item]:
    """Take from the stack what an opcode takes: so many things, or all down to the last mark and so many below it."""
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
