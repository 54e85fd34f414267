"""Batches whose labels the network gives itself, anew before every epoch."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from worker.data.batches import Batch, Shuffled
from worker.runtime.device import send
from worker.runtime.run import State


class Relabelled:
    """The batches of a stream under labels that `label` (→ int64 [N], on the run's device) gives before each epoch.

    It is called before the epoch's first batch is drawn, so that whatever interrupts it finds nothing drawn; the labels
    of an epoch that is under way are part of the snapshot.
    """

    def __init__(self, batches: Shuffled, label: Callable[[], Tensor]) -> None:
        self._batches, self._label = batches, label
        self._label_N = torch.empty(0, dtype=torch.int64)

    @property
    def per_epoch(self) -> int:
        return self._batches.per_epoch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        if start == 0:
            self._label_N = self._label()
        for batch in self._batches.epoch(epoch, start):
            place_B = send(batch.index_B, self._label_N.device)
            yield replace(batch, y_B=send(self._label_N[place_B], batch.x.device))

    def state_dict(self) -> State:
        return {"batches": self._batches.state_dict(), "label_N": self._label_N}

    def load_state_dict(self, state: State) -> None:
        self._batches.load_state_dict(state["batches"])
        self._label_N = state["label_N"]
