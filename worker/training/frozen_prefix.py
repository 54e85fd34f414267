"""Partial training from the edge of what is frozen: what lies before it is computed once, for all epochs."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn

from app.contract.networks import NetworkSpec
from app.methods.training import Training
from worker.data import feature_cache
from worker.data.batches import Batch, Images, Prepare, Shuffled
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.runtime.contract import Note
from worker.runtime.run import Run
from worker.training import evaluate, halves
from worker.training import features as engine
from worker.training.freezing import Except, Only, Trainable
from worker.training.halves import Halves

MOST_BYTES = 2**31  # of activations; where they would be more, the frozen layers run at every step
EVALUATED = 256  # rows at once


class FrozenPrefix:
    """The frozen first half of a network, and its outputs for a job's images: `network` is what goes on from there.

    They are kept one row an image, maps as [N,H,W,C], so that a batch of them lies in memory as convolutions like it.
    """

    def __init__(self, run: Run, prepare: Prepare, cut: Halves, frozen: feature_cache.Document | None) -> None:
        self.network: nn.Module = cut.after
        self._run, self._prepare, self._before, self._frozen = run, prepare, cut.before, frozen
        self._rows: dict[int, Tensor] = {}

    def batches(self, images: Images, batch_size: int, weight_N: Tensor | None) -> Shuffled:
        """Activations of the images, in the order in which `data.image_batches` gives those."""

        def make(index_B: Tensor) -> Batch:
            x_NE = self._of(images)
            y_B = images.label_N[device.send(index_B, images.label_N.device)]
            return Batch(
                self._placed(x_NE[device.send(index_B, x_NE.device)]), device.send(y_B, self._run.device), index_B
            )

        return Shuffled(self._run, len(images), batch_size, make, weight_N=weight_N)

    def in_order(self, images: Images) -> evaluate.Split:
        labels = torch.split(images.label_N, EVALUATED)
        for x, y_B in zip(torch.split(self._of(images), EVALUATED), labels, strict=True):
            self._run.checkpoint_or_stop()
            yield self._placed(x), y_B.to(self._run.device)

    def _of(self, images: Images) -> Tensor:
        """Computed when they are first needed: a training that was done before a resume needs none."""
        if id(images) not in self._rows:
            rows, on = feature_cache.cached(self._run, self._frozen, images, self._compute), self._run.device
            self._rows[id(images)] = rows.to(on) if on.type == "cuda" and device.holds(rows.nbytes, on) else rows
        return self._rows[id(images)]

    def _compute(self, images: Images) -> Tensor:
        batches = evaluate.image_batches(self._run, images, self._prepare)
        return engine.compute(lambda x_BCHW: _stored(self._before(x_BCHW)).cpu(), batches).x_ND

    def _placed(self, rows: Tensor) -> Tensor:
        x = device.send(rows, self._run.device)
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def find(
    source: NetworkSpec | None,
    learner: Classifier,
    params: Training,
    train: Images,
    validation: Images,
    trainable: Callable[[int], Trainable],
    run: Run,
) -> FrozenPrefix | None:
    """The frozen first half, computed once; None where every epoch sees other pixels, nothing stays frozen, there is no
    such edge, or too much lies there.

    `source` is the network that the weights come from, where they come from one: what it computes is kept for others.
    """
    epochs = params.schedule.epochs
    if params.augmentation or params.mixing or params.terms or epochs < 2:
        return None
    prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
    first = torch.zeros(2, dtype=torch.int64, device=train.pixels_NHWC.device)
    example_BCHW = prepare.normalised(prepare.pixels(train.pixels_NHWC, first))
    cut = halves.cut(learner.module, _widest(trainable, epochs), example_BCHW)
    if cut is None or _row_bytes(cut, example_BCHW) * (len(train) + len(validation)) > MOST_BYTES:
        return None
    frozen = None
    if run.cache is not None and source is not None:
        weights = cut.before.state_dict()
        frozen = feature_cache.layers(run, source, weights, {"edge": cut.edge}, learner.input)
    run.emit(
        Note("frozen_once", f"All layers up to {cut.edge} are frozen: their outputs are computed once for all epochs.")
    )
    return FrozenPrefix(run, prepare, cut, frozen)


def _widest(trainable: Callable[[int], Trainable], epochs: int) -> Trainable:
    """Everything that learns in any of the epochs; None: perhaps everything."""
    every = [trainable(epoch) for epoch in range(epochs)]
    if any(isinstance(one, Only) for one in every):
        return None  # of norms or biases some are among the first layers
    if all(one == every[0] for one in every):
        return every[0]
    paths = [one for one in every if one is not None and not isinstance(one, Except | Only)]
    return list(dict.fromkeys(chain(*paths))) if len(paths) == epochs else None


@torch.no_grad()
def _row_bytes(cut: Halves, example_BCHW: Tensor) -> int:
    return int(cut.before(example_BCHW)[0].nbytes)


def _stored(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous() if x.ndim == 4 else x.contiguous()
