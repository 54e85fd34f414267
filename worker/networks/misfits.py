"""Networks that cannot be built, or take no such images: what is raised then, and how it is said."""

from pydantic import ValidationError

from app.contract.inputs import InputSpec
from app.contract.layers import Unbuildable

# What PyTorch, torchvision and timm raise where sizes or options do not fit.
MISFITS = (TypeError, ValueError, AssertionError, RuntimeError, LookupError, ArithmeticError)


def size(input: InputSpec) -> str:
    """The images of an input contract in words, such as `32×32 colour`."""
    height, width = input.size
    return f"{height}×{width} {'grey' if input.channels == 1 else 'colour'}"


def reason(error: Exception) -> str:
    """One line for users; of a description that was refused, every fault."""
    if isinstance(error, Unbuildable):
        return "; ".join(fault.detail for fault in error.faults)
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
