"""Dense averaging between the first signs of a minimum of the validation loss and of overfitting (Cha et al. 2021)."""

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.methods.training import Swad
from worker.runtime.run import State

Weights = dict[str, Tensor]


@dataclass
class Segment:
    """The mean of the weights after each of `steps` steps, of the epochs `first` to `last`; `loss` is the validation's
    at their end."""

    mean: Weights
    steps: int
    first: int
    last: int
    loss: float

    def joined(self, later: "Segment | None") -> "Segment":
        """The mean over both; whole numbers are the later ones."""
        if later is None:
            return self
        share = later.steps / (self.steps + later.steps)
        mean = {name: _between(tensor, later.mean[name], share) for name, tensor in self.mean.items()}
        return Segment(mean, self.steps + later.steps, self.first, later.last, later.loss)


class DenseAverage:
    """The mean of a network's weights over all steps from t_s to t_e (algorithm 1).

    t_s is where the validation loss is the least of `optimum_patience` epochs, itself the first of them, t_e before
    `overfit_patience` epochs in a row all above `tolerance` times these first epochs' mean loss.
    """

    def __init__(self, network: nn.Module, params: Swad) -> None:
        self._weights, self._params = network.state_dict(keep_vars=True), params
        self.forget()

    def forget(self) -> None:
        """Begin anew, as if nothing had been seen."""
        self._mean: Weights = {}
        self._steps = 0
        self._recent: deque[Segment] = deque(maxlen=self._params.optimum_patience)
        self._limit: float | None = None
        self._kept: Segment | None = None
        self._pending: Segment | None = None
        self._above = 0
        self._over = False

    @torch.no_grad()
    def update(self) -> None:
        """After an optimiser step."""
        self._steps += 1
        if not self._mean:
            self._mean = {name: tensor.detach().clone() for name, tensor in self._weights.items()}
            return
        for name, tensor in self._weights.items():
            self._mean[name] = _between(self._mean[name], tensor.detach(), 1 / self._steps)

    def validated(self, epoch: int, loss: float) -> bool:
        """Close the `epoch` (from 1), at whose end the validation loss was `loss`; tells whether t_e is found."""
        segment = Segment(self._mean, self._steps, epoch, epoch, loss)
        self._mean, self._steps = {}, 0
        if self._limit is not None:
            self._offer(segment)
            return self._over
        self._recent.append(segment)
        losses = [one.loss for one in self._recent]
        if len(losses) == self._params.optimum_patience and losses[0] == min(losses):
            self._limit = self._params.tolerance * sum(losses) / len(losses)
            for one in self._recent:
                self._offer(one)
            self._recent.clear()
        return self._over

    def _offer(self, segment: Segment) -> None:
        """Keep what the loss has not risen after; what it has waits until it is seen whether it falls again."""
        assert self._limit is not None
        if self._over:
            return
        joined = segment if self._pending is None else self._pending.joined(segment)
        if segment.loss <= self._limit:
            self._kept = joined if self._kept is None else self._kept.joined(joined)
            self._pending, self._above = None, 0
            return
        self._pending, self._above = joined, self._above + 1
        self._over = self._above == self._params.overfit_patience

    @property
    def found(self) -> bool:
        """Tell whether there was a minimum."""
        return self._kept is not None

    def result(self) -> Segment:
        """The mean from t_s to t_e, or to the end; where no minimum was found, over the last epoch."""
        if self._kept is None:
            return self._recent[-1]
        return self._kept if self._over else self._kept.joined(self._pending)

    def state_dict(self) -> State:
        return {
            "mean": dict(self._mean),
            "steps": self._steps,
            "recent": [vars(one) for one in self._recent],
            "limit": self._limit,
            "kept": None if self._kept is None else vars(self._kept),
            "pending": None if self._pending is None else vars(self._pending),
            "above": self._above,
            "over": self._over,
        }

    def load_state_dict(self, state: State) -> None:
        self._mean, self._steps = dict(state["mean"]), state["steps"]
        self._recent = deque((Segment(**one) for one in state["recent"]), self._params.optimum_patience)
        self._limit, self._above, self._over = state["limit"], state["above"], state["over"]
        self._kept, self._pending = (
            None if state[one] is None else Segment(**state[one]) for one in ("kept", "pending")
        )


def _between(mean: Tensor, now: Tensor, share: float) -> Tensor:
    return mean.lerp(now, share) if mean.is_floating_point() else now.clone()
