"""Predictions over a whole split: large batches, no gradients, one wait for the device at the end."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from worker.data import targets
from worker.data.batches import Images, Prepare
from worker.metrics.scores import Judged, Verdict
from worker.runtime.rehearsal import IMAGES, Rehearsal
from worker.runtime.run import Run
from worker.training import accumulation
from worker.training.protocols import Validation

Split = Iterator[tuple[Tensor, Tensor]]  # what the network takes and its targets (see `targets`), batch by batch

BATCH = {"cpu": 256, "cuda": 2048}  # images at once, at most …
BATCH_ELEMENTS = {"cpu": 2**21, "cuda": 2**27}  # … and elements of the input: a batch of large images is smaller


@dataclass(frozen=True)
class ImagePass:
    """A pass over so many images."""

    images: int
    batches: Split

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        return next(self.batches)


def image_batches(run: Run, images: Images, prepare: Prepare) -> Split:
    """(float32 [B,C,H,W], targets) in the order of the images, not augmented.

    Raises:
        Interrupted: see `Run.checkpoint_or_stop`.
    """
    return ImagePass(len(images), _image_batches(run, images, prepare))


def _image_batches(run: Run, images: Images, prepare: Prepare) -> Split:
    elements = math.prod(images.pixels_NHWC.shape[1:])
    size = max(1, min(BATCH[run.device.type], BATCH_ELEMENTS[run.device.type] // elements))
    for start in range(0, len(images), size):
        run.checkpoint_or_stop()
        place_B = torch.arange(start, min(start + size, len(images)), device=images.label_N.device)
        x_BCHW = prepare.normalised(prepare.pixels(images.pixels_NHWC, place_B))
        yield x_BCHW, images.label_N[place_B].to(x_BCHW.device)


def judge(
    run: Run,
    forward: Callable[[Tensor], Tensor],
    batches: Split,
    *,
    columns: Sequence[int] | None = None,
) -> Verdict:
    """Run `forward` (input -> logits [B,K]) over `batches`; with `columns`, class i of the targets is output
    `columns[i]`, and the targets have no other outputs.

    What is judged is the decision that is served, which may be for an output that is no class of the targets; of one
    label an image, `Judged.among_shared` is the decision among `columns` alone.  The caller has put the network into
    evaluation mode, and there is at least one batch: its targets say the kind.  In a rehearsal the first images are all
    that is judged.
    """
    parts: list[Tensor] = []
    among: list[Tensor] = []
    index = None if columns is None else torch.tensor(columns, device=run.device)
    with torch.inference_mode():
        for x, y in batches if run.rehearsal is None else _some(run.rehearsal, batches):
            kind = targets.of(y)
            logits_BK = accumulation.forward(forward, x).float()
            if index is not None:
                among.append(kind.part(logits_BK.index_select(1, index), y))
                logits_BK, y = _rearranged(logits_BK, index, y)
            parts.append(kind.part(logits_BK, y))
    verdict = kind.verdict(parts)
    if isinstance(verdict, Judged) and among:
        return replace(verdict, among_shared=targets.SINGLE_LABEL.verdict(among))
    return verdict


def logits(run: Run, forward: Callable[[Tensor], Tensor], batches: Split) -> Tensor:
    """float32 [N,K]: what `forward` makes of all `batches`; in a rehearsal of the first images alone."""
    with torch.inference_mode():
        shown = batches if run.rehearsal is None else _some(run.rehearsal, batches)
        return torch.cat([accumulation.forward(forward, x).float() for x, _ in shown])


def _some(rehearsal: Rehearsal, batches: Split) -> Split:
    began_at, shown = time.monotonic(), 0
    for x, y in batches:
        yield x, y
        shown += len(y)
        if isinstance(batches, ImagePass) and IMAGES <= shown < batches.images:
            return rehearsal.passed(shown, batches.images, began_at)
    return None


def _rearranged(logits_BK: Tensor, index: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The targets' classes first, then the other outputs.  Of several labels an image each is a question of its own,
    and nothing is known of the others' answers."""
    shared_BL = logits_BK.index_select(1, index)
    if y.ndim == 2:
        return shared_BL, y
    others_K = torch.ones(logits_BK.shape[1], dtype=torch.bool, device=logits_BK.device)
    others_K[index] = False
    return torch.cat((shared_BL, logits_BK[:, others_K]), dim=1), y


def validator(
    run: Run, network: nn.Module, batches: Callable[[], Split], metric: str = "accuracy"
) -> Callable[[], Validation]:
    """A validation for `fit`: the best weights have the greatest accuracy (of several labels: mean average precision),
    the least loss where that is equal; or with the metric `nll` just the least loss."""

    def validate() -> Validation:
        judged = judge(run, network, batches())
        return Validation(judged.series, judged.rank(metric), judged.hits)

    return validate
