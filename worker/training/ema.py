"""Weight averaging: what is validated, selected and kept is the moving average of the weights, not their last state."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from worker.runtime.run import State


class Average:
    """An exponential moving average of a network's weights, step by step (Tarvainen & Valpola 2017).

    Its decay is min(`decay`, (1 + steps) / (10 + steps)): what the network was drawn as is soon forgotten.
    Batch norm's statistics are averaged like weights; whole numbers are those of the last step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self._steps = 0
        self._beneath: dict[str, Tensor] | None = None
        self._weights = network.state_dict(keep_vars=True)
        self._mean = {name: tensor.detach().clone() for name, tensor in self._weights.items()}
        self._whole = [name for name, tensor in self._mean.items() if not tensor.is_floating_point()]
        self._fractions = [name for name in self._mean if name not in self._whole]

    @torch.no_grad()
    def update(self) -> None:
        """After an optimiser step."""
        share = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        mean, now = ([of[name] for name in self._fractions] for of in (self._mean, self._weights))
        torch._foreach_lerp_(mean, now, share)
        for name in self._whole:
            self._mean[name].copy_(self._weights[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the network has the averaged weights."""
        self._beneath = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}
        self._put(self._mean)
        try:
            yield
        finally:
            self._put(self._beneath)
            self._beneath = None

    @property
    def trained(self) -> Mapping[str, Tensor]:
        """The weights that training goes on from, also while the averaged ones are applied."""
        return self._network.state_dict() if self._beneath is None else self._beneath

    def state_dict(self) -> State:
        return {"steps": self._steps, "mean": self._mean}

    def load_state_dict(self, state: State) -> None:
        self._steps = state["steps"]
        for name, tensor in state["mean"].items():
            self._mean[name].copy_(tensor)

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in self._network.state_dict().items():
            tensor.copy_(weights[name])
