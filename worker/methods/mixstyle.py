"""`mixstyle`: the style of one image's feature maps on another's."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from app.methods.mixstyle import MixStyle
from worker.engine.contract import Failure
from worker.engine.device import send
from worker.methods import generalisation
from worker.methods.penalised import MeanRisk
from worker.methods.task import Adapted, Task
from worker.networks import anatomy
from worker.terms.base import Frame, look, watching
from worker.terms.environments import mix_style


def mixstyle(task: Task, params: MixStyle) -> Adapted:
    return generalisation.learn(task, params, MeanRisk, around=partial(mixing, params=params))


@contextmanager
def mixing(learner: Frame, *, params: MixStyle) -> Iterator[None]:
    """Within, the network mixes styles while it is in training mode."""
    hooks = [
        learner.network.get_submodule(path).register_forward_hook(partial(_mixed, params=params))
        for path in _mapped(learner)[: params.stages]
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _mixed(module: nn.Module, given: Any, made: Tensor, *, params: MixStyle) -> Tensor:
    """Random numbers are drawn from PyTorch's global generator, as dropout's are."""
    if not module.training or float(torch.rand(())) >= params.p:
        return made
    partner_B = send(torch.randperm(len(made)), made.device)
    share_B = torch.distributions.Beta(params.alpha, params.alpha).sample((len(made),)).to(made)
    return mix_style(made, partner_B, share_B)


def _mapped(learner: Frame) -> list[str]:
    """Ends of the stages that give feature maps.

    Raises:
        Failure: `does_not_fit`, there is none.
    """
    x_BCHW = torch.zeros(1, learner.input.channels, *learner.input.size, device=_device(learner.network))
    with torch.no_grad(), anatomy.evaluating(learner.network), watching(learner.network, learner.ends) as outputs:
        look(learner, x_BCHW)
    found = [path for path in learner.ends if isinstance(outputs.get(path), Tensor) and outputs[path].ndim == 4]
    if not found:
        raise Failure("does_not_fit", "`mixstyle` mixes feature maps, and no stage of the network gives any.")
    return found


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
