"""CIFAR's pickles without the dangers of unpickling: plain containers, numbers, text, and arrays of whole numbers."""

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.runtime.contract import Failure

Integers = NDArray[np.integer[Any]]

_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_STAYING = _PUTS | {"FRAME", "PROTO"}  # codes that leave the top of the stack as it is
_NEEDLESS = {"DUP", "POP", "POP_MARK", "EMPTY_SET", "ADDITEMS", "FROZENSET"}
_INTEGER = re.compile("[<>|]?[iu][1248]")


def load(name: str, data: bytes) -> dict[str, object]:
    """The dict that `data` holds: its keys are made text, other strings of Python 2 stay bytes.

    Raises:
        Failure: `unsafe_pickle`, it is none, or asks for anything else.
    """
    try:
        _inspect(data)
        entries = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        return {_text(key): value.array if isinstance(value, _Array) else value for key, value in entries.items()}
    except MemoryError:
        raise
    except Exception as error:  # a pickle is a program, and a wrong one may end in nearly anything
        raise Failure("unsafe_pickle", f"{name} is no pickle of lists and arrays of numbers: {error}.") from error


def _inspect(data: bytes) -> None:
    """Before any of it runs, refuse what may take more memory or time than its length warrants.

    That is a memo with places far apart, and tuples of one tuple twice, again and again: their hash takes for ever.
    """
    top, stored = "", 0
    tuples = set[int]()
    for number, (code, argument, _) in enumerate(pickletools.genops(data)):
        if code.name in _NEEDLESS or (code.name in _GETS and argument in tuples):
            raise pickle.UnpicklingError(f"{code.name} is of no use in it")
        if code.name in _PUTS:
            place = stored if argument is None else argument
            if place > number:
                raise pickle.UnpicklingError("it speaks of more than it has")
            stored += 1
            (tuples.add if top in _TUPLES else tuples.discard)(place)
        if code.name not in _STAYING:
            top = code.name


class _Unpickler(pickle.Unpickler):
    """NumPy's own constructors are not called: what they are given could make them read memory that is not theirs."""

    def find_class(self, module: str, name: str) -> Any:
        # bound methods, because a pickle can set attributes of classes and functions
        match module.replace("numpy._core", "numpy.core"), name:
            case ("numpy.core.multiarray", "_reconstruct"):
                return self._empty
            case ("numpy.core.multiarray", "scalar"):
                return self._scalar
            case ("numpy.core.numeric", "_frombuffer"):
                return self._filled
            case ("numpy", "dtype"):
                return self._type
            case ("numpy", "ndarray"):
                return None  # an argument of `_reconstruct`
            case ("_codecs", "encode"):
                return self._bytes
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def _empty(self, *_: object) -> "_Array":
        return _Array()

    def _filled(self, data: bytes, type: "_Type", shape: tuple[int, ...], order: str) -> "_Array":
        array = _Array()
        array.__setstate__((1, shape, type, order == "F", data))
        return array

    def _scalar(self, type: "_Type", data: bytes) -> int:
        return int(np.frombuffer(data, type.dtype)[0])

    def _type(self, code: str | bytes, *_: object) -> "_Type":
        return _Type(_text(code))

    def _bytes(self, text: str, _: str) -> bytes:
        """Decode bytes as Python 3 writes them for Python 2."""
        return text.encode("latin1")


class _Array:
    """Stands for an array until its state is there."""

    array: Integers

    def __setstate__(self, state: tuple[int, tuple[int, ...], "_Type", bool, bytes]) -> None:
        _, shape, type, by_columns, data = state
        self.array = np.frombuffer(data, type.dtype).reshape(shape, order="F" if by_columns else "C")


class _Type:
    """Stands for a dtype: one of whole numbers."""

    def __init__(self, code: str) -> None:
        self._code, self.dtype = code, _dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = _dtype(_text(state[1]) + self._code)  # the order of its bytes


def _dtype(code: str) -> np.dtype[Any]:
    if not _INTEGER.fullmatch(code):
        raise pickle.UnpicklingError(f"it has an array of {code}")
    return np.dtype(code)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
