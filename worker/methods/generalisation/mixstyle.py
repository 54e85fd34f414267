"""`mixstyle`: the style of one image's feature maps on another's."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from app.methods.generalisation.mixstyle import MixStyle
from worker.methods.generalisation import family as generalisation
from worker.methods.generalisation.penalised import MeanRisk
from worker.methods.task import Adapted, Task
from worker.networks import modes
from worker.networks.classifier import Classifier, watching
from worker.runtime.contract import Failure
from worker.runtime.device import send
from worker.terms.environments import mix_style


def run(task: Task, params: MixStyle) -> Adapted:
    return generalisation.learn(task, params, MeanRisk, context=partial(mixing, params=params))


@contextmanager
def mixing(learner: Classifier, *, params: MixStyle) -> Iterator[None]:
    """Within, the network mixes styles while it is in training mode."""
    hooks = []
    for place in places(learner)[: params.stages]:
        module = learner.module.get_submodule(place.path)
        if place.of == "output":
            hooks.append(module.register_forward_hook(partial(_mixed_output, params=params)))
        else:
            hooks.append(module.register_forward_pre_hook(partial(_mixed_input, params=params)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class MixingPlace(NamedTuple):
    """A place where styles are mixed: at the output of the module at `path`, or at its first input."""

    path: str
    of: Literal["output", "input"]


def places(learner: Classifier) -> list[MixingPlace]:
    """One for each stage that gives feature maps, in order, the stem left out.

    Maps are mixed where the network hands them on, after their activation: at the output of a stage that ends in a
    block, and where it ends in a bare layer (a convolution or its norm, the activation yet to come), at the input of
    the next.  The stem is what comes, with one layer of weights alone, before stages that have several, as in a ResNet:
    the authors mix after its residual stages.

    Raises:
        Failure: `does_not_fit`, no stage gives feature maps.
    """
    stages = learner.structure.stages
    maps = _maps(learner)
    candidates = []
    for stage, following in zip(stages, (*stages[1:], ()), strict=True):
        place = MixingPlace(stage[-1], "output")
        if following and not _children(learner.module, stage[-1]):
            place = MixingPlace(following[0], "input")
        if place in maps:
            candidates.append((place, _layers(learner.module, stage)))
    deepest = max((layers for _, layers in candidates), default=0)
    while deepest > 1 and candidates[0][1] == 1:
        candidates.pop(0)
    if not candidates:  # of a network with a single convolution, whose output goes into a linear layer
        candidates = [(MixingPlace(end, "output"), 1) for end in learner.ends if MixingPlace(end, "output") in maps]
    if not candidates:
        raise Failure("does_not_fit", "`mixstyle` mixes feature maps, and no stage of the network gives any.")
    return [place for place, _ in candidates]


def _maps(learner: Classifier) -> set[MixingPlace]:
    """Places where a stage begins or ends with [B,C,H,W]: found by running the network once."""
    starts: set[MixingPlace] = set()

    def enter(path: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim == 4:
            starts.add(MixingPlace(path, "input"))

    x_BCHW = torch.zeros(1, learner.input.channels, *learner.input.size, device=_device(learner.module))
    hooks = [
        learner.module.get_submodule(stage[0]).register_forward_pre_hook(partial(enter, stage[0]))
        for stage in learner.structure.stages
    ]
    try:
        with torch.no_grad(), modes.evaluating(learner.module), watching(learner.module, learner.ends) as outputs:
            learner.forward(x_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    ends = {
        MixingPlace(path, "output")
        for path, output in outputs.items()
        if isinstance(output, Tensor) and output.ndim == 4
    }
    return starts | ends


def _children(network: nn.Module, path: str) -> bool:
    return any(True for _ in network.get_submodule(path).children())


def _layers(network: nn.Module, stage: Sequence[str]) -> int:
    """Layers in it that have weights of more than one dimension: convolutions and linear ones, no norms."""
    modules = [module for path in stage for module in network.get_submodule(path).modules()]
    return sum(any(own.ndim > 1 for own in module.parameters(recurse=False)) for module in modules)


def _mixed_output(module: nn.Module, inputs: Any, output: Tensor, *, params: MixStyle) -> Tensor:
    return mixed(output, params) if module.training else output


def _mixed_input(module: nn.Module, inputs: tuple[Any, ...], *, params: MixStyle) -> tuple[Any, ...]:
    return (mixed(inputs[0], params), *inputs[1:]) if module.training else inputs


def mixed(x_BCHW: Tensor, params: MixStyle) -> Tensor:
    """Random numbers are drawn from PyTorch's global generator, as dropout's are."""
    if float(torch.rand(())) >= params.p:
        return x_BCHW
    partner_B = send(torch.randperm(len(x_BCHW)), x_BCHW.device)
    share_B = torch.distributions.Beta(params.alpha, params.alpha).sample((len(x_BCHW),)).to(x_BCHW)
    return mix_style(x_BCHW, partner_B, share_B)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
