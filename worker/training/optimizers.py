"""Optimisers: groups of parameters with learning rates of their own, under schedules that are functions of the step."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from app.methods.training import Schedule
from worker.runtime.run import State
from worker.training.schedules import Factor

ParameterGroup = dict[
    str, Any
]  # of PyTorch's, with the names of its parameters and their `factor` of the learning rate

# In the name of a parameter: it is looked up, added or multiplied, and no weight of a layer.
NO_WEIGHTS = frozenset({"pos", "position", "token", "embed", "embedding", "scale", "gamma", "bias", "biases"})


def groups(module: nn.Module, factor: Callable[[str], float], weight_decay: float) -> list[ParameterGroup]:
    """All parameters of `module`, grouped by learning-rate factor and by whether they decay.

    Weights of layers decay; norms, biases and all else that has fewer than two dimensions do not (He et al. 2019, Bag
    of tricks), nor do embeddings (of places, class tokens), layer scales, or what the network names in a method
    `no_weight_decay`, as timm's do.  A tensor that goes by several names is taken once, under its first.
    """
    by_setting: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = {}
    exempt = set(_exempt(module))
    for name, parameter in module.named_parameters():
        decay = 0.0 if parameter.ndim < 2 or name in exempt else weight_decay
        by_setting.setdefault((factor(name), decay), []).append((name, parameter))
    return [
        {"params": [p for _, p in named], "names": [n for n, _ in named], "factor": factor, "weight_decay": decay}
        for (factor, decay), named in by_setting.items()
    ]


def _exempt(module: nn.Module) -> Iterator[str]:
    """Names of parameters that are no weights of a layer, whatever their dimensions."""
    for path, owner in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, _ in owner.named_parameters(recurse=False):
            if isinstance(owner, nn.Embedding) or not NO_WEIGHTS.isdisjoint(name.lower().split("_")):
                yield prefix + name
        no_weight_decay = getattr(owner, "no_weight_decay", None)
        if callable(no_weight_decay):
            yield from (prefix + name for name in no_weight_decay())


class Optimiser:
    """A PyTorch optimiser whose groups' learning rates are learning_rate × the group's factor × `factor`(step)."""

    def __init__(self, groups: list[ParameterGroup], schedule: Schedule, factor: Factor) -> None:
        self._learning_rate = schedule.learning_rate
        self._factor = factor
        self._max_gradient_norm = schedule.max_gradient_norm
        self._optimizer = _build(groups, schedule)

    def prepare(self) -> None:
        """Make ready for other parameters; to be called when others than before begin to learn.

        PyTorch's fused SGD takes a group's momenta to be all there or all new, and breaks where some are new;
        starting from zero is the same first step.
        """
        if isinstance(self._optimizer, torch.optim.SGD):
            for parameter in self.parameters():
                if parameter.requires_grad and not self._optimizer.state[parameter]:
                    self._optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def forget(self) -> None:
        """Momenta and the like start from nothing."""
        self._optimizer.state.clear()
        self.prepare()

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None  # what PyTorch's own does, without bookkeeping that a small head's step feels

    def step(self, step: int) -> None:
        """Update from the gradients as optimiser step `step`; parameters without a gradient stay as they are.

        Where the gradient of all together is longer than the schedule's most, it is shortened to that first.
        """
        if self._max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self._max_gradient_norm)
        base = self.learning_rate(step)
        for group in self._optimizer.param_groups:
            group["lr"] = base * group["factor"]
        self._optimizer.step()

    def learning_rate(self, step: int) -> float:
        return self._learning_rate * self._factor(step)

    @property
    def param_groups(self) -> list[ParameterGroup]:
        return self._optimizer.param_groups

    def parameters(self) -> Iterator[nn.Parameter]:
        for group in self._optimizer.param_groups:
            yield from group["params"]

    def state_dict(self) -> State:
        return self._optimizer.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._optimizer.load_state_dict(state)


def _build(groups: list[ParameterGroup], schedule: Schedule) -> torch.optim.Optimizer:
    rate = schedule.learning_rate
    if schedule.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    nesterov = schedule.momentum > 0
    return torch.optim.SGD(groups, lr=rate, momentum=schedule.momentum, nesterov=nesterov, fused=True)
