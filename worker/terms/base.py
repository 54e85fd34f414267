"""What a term is: built once before the training, asked at every step, part of the snapshot where it has a state."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from worker.data.batches import Batch
from worker.networks import anatomy
from worker.networks.anatomy import Anatomy
from worker.training.evaluate import Split


@dataclass(frozen=True)
class Frame:
    """A network with what is to be known of it; `classes` are its outputs, None where nobody has named them."""

    network: nn.Module
    anatomy: Anatomy
    input: InputSpec
    classes: list[str] | None

    @property
    def ends(self) -> list[str]:
        """Paths of the modules at which its stages end, in order of execution."""
        return [stage[-1] for stage in self.anatomy.stages]


@dataclass(frozen=True)
class View:
    """One forward pass: logits [B,K], what the heads saw [B,D], and the outputs of watched modules by path."""

    logits_BK: Tensor
    features_BD: Tensor
    outputs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What terms are built from.

    `source` is a frozen copy of where the transfer starts from, with its own head; `teacher` gives a frozen network by
    its id, None the source.  `examples` gives the training images and their labels once, not augmented.
    """

    student: Frame
    source: Frame | None
    teacher: Callable[[str | None], Frame]
    examples: Callable[[], Split]


class Term(Protocol):
    """`watches`: paths of the student's modules whose outputs it looks at.  `module`: what learns beside the network.
    `label_weight`: what remains of the loss on labels."""

    @property
    def watches(self) -> Sequence[str]: ...

    @property
    def module(self) -> nn.Module | None: ...

    @property
    def label_weight(self) -> float: ...

    def __call__(self, batch: Batch, view: View) -> Tensor:
        """Its value, a scalar, before its weight."""


class Plain:
    """Nothing watched, nothing learned, all of the loss on labels kept: what most terms are, but for what they say."""

    watches: Sequence[str] = ()
    module: nn.Module | None = None
    label_weight: float = 1.0


def look(frame: Frame, x_BCHW: Tensor, watches: Sequence[str] = ()) -> View:
    with watching(frame.network, watches) as outputs:
        logits_BK, features_BD = anatomy.forward(frame.network, frame.anatomy, x_BCHW)
    return View(logits_BK, features_BD, outputs)


def look_frozen(frame: Frame, x_BCHW: Tensor, of: InputSpec, watches: Sequence[str] = ()) -> View:
    """The same without gradients, for images that were prepared as `of` says."""
    with torch.no_grad():
        return look(frame, translated(x_BCHW, of, frame.input), watches)


def translated(x_BCHW: Tensor, of: InputSpec, to: InputSpec) -> Tensor:
    """Images that were prepared for one network, as another takes them: values, colour and size."""
    if (of.size, of.channels, of.mean, of.std) == (to.size, to.channels, to.mean, to.std):
        return x_BCHW
    x_BCHW = x_BCHW * _column(of.std, x_BCHW) + _column(of.mean, x_BCHW)
    if of.channels != to.channels:
        x_BCHW = x_BCHW.expand(-1, 3, -1, -1) if to.channels == 3 else _grey(x_BCHW)
    if of.size != to.size:
        x_BCHW = F.interpolate(x_BCHW, to.size, mode="bilinear", antialias=True)
    return (x_BCHW - _column(to.mean, x_BCHW)) / _column(to.std, x_BCHW)


@contextmanager
def watching(network: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within, the outputs of the modules at `paths`, as they were executed last."""
    outputs: dict[str, Tensor] = {}

    def keep(path: str) -> torch.utils.hooks.RemovableHandle:
        return network.get_submodule(path).register_forward_hook(
            lambda module, given, made: outputs.update({path: made})
        )

    hooks = [keep(path) for path in paths]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def correspondence(student: Frame, source: Frame) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """The student's parameters that have their like in the source, each with it, and those that are new: the heads,
    and what the source has not, or has in another shape."""
    heads = tuple(f"{head}." for head in student.anatomy.heads)
    w0 = dict(source.network.named_parameters())
    shared: list[tuple[Tensor, Tensor]] = []
    new: list[Tensor] = []
    for name, w in student.network.named_parameters():
        if not name.startswith(heads) and name in w0 and w0[name].shape == w.shape:
            shared.append((w, w0[name]))
        else:
            new.append(w)
    return shared, new


def squared_norm(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Σ ‖w‖², a scalar; 0 of none."""
    return sum((w.square().sum() for w in tensors), torch.zeros((), device=device))


def maps(output: Tensor) -> Tensor:
    """[B,C,P]: a module's output with its places in one dimension; [B,T,D] of a transformer likewise."""
    if output.ndim == 4:
        return output.flatten(2)
    return output.transpose(1, 2) if output.ndim == 3 else output[:, :, None]


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype)[:, None, None]


def _grey(x_BCHW: Tensor) -> Tensor:
    """ITU-R 601 luma, as Pillow's conversion to `L`."""
    weights_C11 = torch.tensor([0.299, 0.587, 0.114], device=x_BCHW.device)[:, None, None]
    return (x_BCHW * weights_C11).sum(1, keepdim=True)
