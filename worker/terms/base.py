"""Terms of the objective: built once before the training, asked at every step, part of the snapshot where it has a
state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from worker.data.batches import Batch
from worker.networks.classifier import Classifier, Outputs
from worker.training.evaluate import Split


@dataclass(frozen=True)
class Setting:
    """The networks and images that terms are built from.

    `source` is a frozen copy of where the transfer starts from, with its own head; `teacher` gives a frozen network by
    its id, None the source.  `examples` gives the training images and their labels once, not augmented.
    """

    student: Classifier
    source: Classifier | None
    teacher: Callable[[str | None], Classifier]
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

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        """The term's value, a scalar, before its weight."""


class TermDefaults:
    """Nothing watched, nothing learned, all of the loss on labels kept: what most terms are, but for what they say."""

    watches: Sequence[str] = ()
    module: nn.Module | None = None
    label_weight: float = 1.0


def correspondence(student: Classifier, source: Classifier) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """The student's parameters that have their like in the source, each with it, and those that are new: the heads,
    and what the source has not, or has in another shape."""
    heads = tuple(f"{head}." for head in student.structure.heads)
    w0 = dict(source.module.named_parameters())
    shared: list[tuple[Tensor, Tensor]] = []
    new: list[Tensor] = []
    for name, w in student.module.named_parameters():
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
