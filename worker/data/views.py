"""Several views of the same images: what learns from images alone compares them."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from worker.data.batches import Batch, Images, Prepare, Shuffled
from worker.runtime.device import send
from worker.runtime.run import Run

Look = Callable[[Tensor, Generator], Tensor]  # uint8 [B,C,H,W] -> uint8 [V·B,C,H,W], view after view


def view_batches(run: Run, images: Images, *, prepare: Prepare, batch_size: int, look: Look) -> Shuffled:
    """Batches of B images in V views: `x` is [V·B,C,H,W], all images in the first view, then in the second, …"""
    generator = run.generator("data", "augment")

    def make(index_B: Tensor) -> Batch:
        place_B = send(index_B, images.label_N.device)
        x_BCHW = look(prepare.pixels(images.pixels_NHWC, place_B), generator)
        y_B = send(images.label_N.index_select(0, place_B), x_BCHW.device)
        return Batch(prepare.normalised(x_BCHW), y_B, index_B)

    return Shuffled(run, len(images), batch_size, make, generators=(generator,), soon=images.soon)


def quarter_turns(x_BCHW: Tensor) -> Tensor:
    """[4·B,C,H,W]: as they are, then turned by 90°, 180° and 270° against the clock; H = W."""
    return torch.cat([x_BCHW.rot90(turns, (2, 3)) for turns in range(4)])
