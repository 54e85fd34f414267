"""Predictions over a whole split: large batches, no gradients, one wait for the device at the end."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.engine.data import Images, Prepare
from worker.engine.fit import Validation
from worker.engine.run import Run
from worker.engine.scores import Judged

Split = Iterator[tuple[Tensor, Tensor]]  # what the network takes and int64 [B], batch by batch

BATCH = {"cpu": 256, "cuda": 2048}  # images at once, at most …
BATCH_ELEMENTS = {"cpu": 2**21, "cuda": 2**27}  # … and elements of the input: a batch of large images is smaller


def image_batches(run: Run, images: Images, prepare: Prepare) -> Split:
    """(float32 [B,C,H,W], int64 [B]) in the order of the images, not augmented.

    Raises:
        Interrupted: see `Run.heed`.
    """
    elements = math.prod(images.pixels_NHWC.shape[1:])
    size = max(1, min(BATCH[run.device.type], BATCH_ELEMENTS[run.device.type] // elements))
    for start in range(0, len(images), size):
        run.heed()
        place_B = torch.arange(start, min(start + size, len(images)), device=images.label_N.device)
        x_BCHW = prepare.normalised(prepare.pixels(images.pixels_NHWC, place_B))
        yield x_BCHW, images.label_N[place_B].to(x_BCHW.device)


def judge(
    run: Run,
    forward: Callable[[Tensor], Tensor],
    batches: Split,
    *,
    columns: Sequence[int] | None = None,
) -> Judged:
    """Run `forward` (input -> logits [B,K]) over `batches`; with `columns` only those classes are in question.

    The caller has put the network into evaluation mode.
    """
    parts: list[Tensor] = []
    index = None if columns is None else torch.tensor(columns, device=run.device)
    with torch.inference_mode():
        for x, y_B in batches:
            logits_BK = forward(x) if index is None else forward(x).index_select(1, index)
            parts.append(_judge(logits_BK.float(), y_B))
    return _collect(parts)


def _judge(logits_BK: Tensor, y_B: Tensor) -> Tensor:
    """[4,B] float64: true class, predicted class, its probability, loss."""
    log_p_BK = F.log_softmax(logits_BK.double(), dim=1)
    confidence_B, predicted_B = log_p_BK.max(dim=1)
    nll_B = -log_p_BK.gather(1, y_B[:, None])[:, 0]
    return torch.stack((y_B.double(), predicted_B.double(), confidence_B.exp(), nll_B))


def _collect(parts: list[Tensor]) -> Judged:
    found = torch.cat(parts, dim=1).cpu().numpy() if parts else np.empty((4, 0))
    return Judged(found[0].astype(np.int64), found[1].astype(np.int64), found[2], found[3])


def validator(
    run: Run, network: nn.Module, batches: Callable[[], Split], metric: str = "accuracy"
) -> Callable[[], Validation]:
    """A validation for `fit`: the best weights have the greatest accuracy, the least loss where that is equal; or
    with the metric `nll` just the least loss."""

    def validate() -> Validation:
        judged = judge(run, network, batches())
        rank = (judged.accuracy, -judged.nll) if metric == "accuracy" else (-judged.nll,)
        return Validation({"loss": judged.nll, "accuracy": judged.accuracy}, rank)

    return validate
