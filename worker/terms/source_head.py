"""The source's head, set on the student's features: it goes on learning, so that what the source knew is not lost."""

from copy import deepcopy

from torch import Tensor, nn

from worker.runtime.contract import Failure
from worker.terms.base import Setting


def of(setting: Setting, name: str) -> nn.Module:
    """A trainable copy of it, on the student's device.

    Raises:
        Failure: `does_not_fit`: there is no source, or its network is not exactly its head on its features.
    """
    source = setting.source
    if source is None:
        raise Failure("does_not_fit", f"`{name}` goes on training the source's head, and this job has no source.")
    if not source.structure.separable or source.structure.features != setting.student.structure.features:
        raise Failure(
            "does_not_fit", f"`{name}` needs a source whose scores are made by its head from the features alone."
        )
    return deepcopy(source.module.get_submodule(source.structure.head)).requires_grad_(True)


def logits(head: nn.Module, features_BD: Tensor) -> Tensor:
    output: Tensor = head(features_BD)
    return output
