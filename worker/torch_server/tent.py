"""Test-time adaptation of one network to the images that it is asked about (TENT; Wang et al. 2021).

Only batch norm's scales and shifts move, by the entropy of the predictions of each batch, under the batch's own
statistics; images are answered by what the network was before they moved it.
"""

import math
from collections import deque
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.networks.structure import Structure
from worker.runtime.contract import Failure
from worker.terms import information
from worker.training import statistics

LEARNING_RATE = 1e-3
FEWEST = 16  # images: of fewer, neither batch norm's statistics nor the entropy say much
WINDOW = 8  # batches whose predictions are looked at together
JUDGED = 64  # images: of fewer, predictions of few classes may be chance
ONE_CLASS, SOUND = 1.5, 0.5  # classes that predictions come to, and share of those that the source's come to


@dataclass(frozen=True)
class StreamState:
    """The state of a stream: `steps` of adaptation since it began (anew), on `images`; `entropy` of the last batch, in
    nats; `waiting` images are too few to adapt to; it has collapsed, and begun anew, `collapses` times."""

    steps: int
    images: int
    entropy: float | None
    waiting: int
    collapses: int


class Stream:
    """`network` on its device; it is the stream's own."""

    def __init__(self, network: torch.nn.Module, structure: Structure) -> None:
        """
        Raises:
            Failure: `does_not_fit`, it has no batch norm that keeps statistics.
        """
        self._norms = [norm for norm in statistics.norms(network).values() if norm.affine]
        if not self._norms:
            raise Failure("does_not_fit", "The network has no batch norm with scales and statistics to adapt.")
        self._network, self._structure = network.eval(), structure
        self._source = deepcopy(network).requires_grad_(False)
        self._collapses = 0
        self.reset()

    def reset(self) -> None:
        """Return to the source, as if nothing had been seen; only the collapses are remembered."""
        self._network.load_state_dict(self._source.state_dict())
        self._network.requires_grad_(False)
        learnt = [parameter for norm in self._norms for parameter in norm.parameters()]
        for parameter in learnt:
            parameter.requires_grad_(True)
        self._optimiser = torch.optim.Adam(learnt, lr=LEARNING_RATE)
        self._steps = self._images = 0
        self._entropy: float | None = None
        self._waiting: list[Tensor] = []
        self._window: deque[tuple[Tensor, Tensor]] = deque(maxlen=WINDOW)

    def predict(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [B,K] and features [B,D]; the network adapts to these images, or to them and the last few."""
        if len(x_BCHW) < FEWEST:
            answer = self._look(x_BCHW)
            self._wait(x_BCHW)
            return answer
        adapted = self._adapt(x_BCHW)
        return self._look(x_BCHW) if self._collapsed() else adapted

    def state(self) -> StreamState:
        return StreamState(self._steps, self._images, self._entropy, sum(map(len, self._waiting)), self._collapses)

    def _wait(self, x_BCHW: Tensor) -> None:
        """Keep images until they are enough for a step."""
        self._waiting.append(x_BCHW)
        if sum(map(len, self._waiting)) >= FEWEST:
            self._adapt(torch.cat(self._waiting))
            self._waiting = []
            self._collapsed()

    @torch.inference_mode()
    def _look(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Predict under the running statistics, which have followed the stream."""
        logits_BK, features_BD = self._structure.forward(self._network, x_BCHW)
        return logits_BK.softmax(1), features_BD

    def _adapt(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Wang et al. 2021, section 3: forward, entropy, one step; the answer is of before the step."""
        self._norms_follow(True)
        logits_BK, features_BD = self._structure.forward(self._network, x_BCHW)
        self._norms_follow(False)
        entropy = information.entropy(logits_BK).mean()
        self._optimiser.zero_grad()
        entropy.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._steps, self._images, self._entropy = self._steps + 1, self._images + len(x_BCHW), float(entropy.detach())
        with torch.inference_mode():
            source_B = self._source(x_BCHW).argmax(1)
        self._window.append((logits_BK.detach().argmax(1), source_B))
        return logits_BK.detach().softmax(1), features_BD.detach()

    def _norms_follow(self, follow: bool) -> None:
        for norm in self._norms:
            norm.train(follow)

    def _collapsed(self) -> bool:
        """Predictions have come to far fewer classes than the source's of the same images: then it begins anew."""
        ours, theirs = (torch.cat(parts) for parts in zip(*self._window, strict=True))
        sound = math.isfinite(self._entropy or 0.0)
        if sound and (len(ours) < JUDGED or classes(ours) >= max(ONE_CLASS, SOUND * classes(theirs))):
            return False
        self._collapses += 1
        self.reset()
        return True


def classes(label_B: Tensor) -> float:
    """exp of the entropy of the labels' shares: K where K classes are as frequent, 1 for one."""
    share_K = torch.bincount(label_B).double() / len(label_B)
    return float(torch.special.entr(share_K).sum().exp())
