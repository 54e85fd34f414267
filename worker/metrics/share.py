"""The share of images that a training without labels learns from."""

from torch import Tensor

from worker.runtime.run import State


class Share:
    """The mean of the shares of all steps."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._steps = 0

    def add(self, share: Tensor) -> None:
        self._sum = self._sum + share.double()
        self._steps += 1

    @property
    def mean(self) -> float:
        return float(self._sum) / max(1, self._steps)

    def state_dict(self) -> State:
        return {"sum": self._sum, "steps": self._steps}

    def load_state_dict(self, state: State) -> None:
        self._sum, self._steps = state["sum"], state["steps"]
