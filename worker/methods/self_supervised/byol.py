"""`byol`: one view foretells what an averaged copy of the network makes of the other."""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from app.methods.self_supervised.byol import Byol
from worker.data.batches import Batch
from worker.methods.self_supervised import family as pretraining
from worker.methods.self_supervised.family import Pretext
from worker.methods.task import Adapted, Task
from worker.runtime.run import State
from worker.terms import views
from worker.training.protocols import Losses, Moment


def run(task: Task, params: Byol) -> Adapted:
    pretext = pretraining.begin(task, params)
    projector = pretraining.projector(task, [pretext.width, params.hidden, params.dimensions])
    predictor = pretraining.projector(task, [params.dimensions, params.hidden, params.dimensions])
    target = _Target(pretext, projector)

    def loss(batch: Batch, moment: Moment) -> Losses:
        if moment.step:
            target.follow(decay(params.momentum_target, moment.progress))
        one_BD, two_BD = predictor(projector(pretext.features(batch.x))).chunk(2)
        of_one_BD, of_two_BD = target(batch.x).chunk(2)
        return {"loss": views.foretold(one_BD, of_two_BD) + views.foretold(two_BD, of_one_BD)}

    companions = {"projector": projector, "predictor": predictor}
    look, stateful = pretraining.two(pretext), {"target": target}
    return pretraining.learn(task, pretext, look, loss, companions=companions, stateful=stateful)


def decay(start: float, progress: float) -> float:
    """The decay of the averaged copy: 1 − (1 − start)·(cos(π·progress) + 1)/2 (Grill et al. 2020, section 3.3)."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


class _Target:
    """An averaged copy of the network and its projector; its batch norm goes by the batch, as theirs does."""

    def __init__(self, pretext: Pretext, projector: nn.Module) -> None:
        self._structure = pretext.start.learner.structure
        self._online = (pretext.start.learner.module, projector)
        self._copies = nn.ModuleList(deepcopy(module).requires_grad_(False).train() for module in self._online)

    @torch.no_grad()
    def __call__(self, x_BCHW: Tensor) -> Tensor:
        network, projector = self._copies
        projected: Tensor = projector(self._structure.extract(network, x_BCHW))
        return projected

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        for copy, online in zip(self._copies, self._online, strict=True):
            for mean, parameter in zip(copy.parameters(), online.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)

    def state_dict(self) -> State:
        return self._copies.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._copies.load_state_dict(state)
