"""Examples as the engine holds them, and the order in which they are cut into batches."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from app.contract.inputs import InputSpec
from worker.data.mix import Mix
from worker.data.transforms import Augment
from worker.runtime import seeds
from worker.runtime.device import holds, send
from worker.runtime.run import Run, State


@dataclass(frozen=True)
class Images:
    """`pixels_NHWC` uint8, and `label_N`, its targets (see `targets`), on the same device.

    The pixels are at the network's size, or more where parts are cut from them.  Where they are read from a disk (see
    `mapped`), `soon` is to be told of rows before they are wanted.
    """

    pixels_NHWC: Tensor
    label_N: Tensor
    soon: Callable[[Tensor], None] | None = None

    def __len__(self) -> int:
        return len(self.label_N)

    def to(self, device: torch.device) -> "Images":
        """The images on a GPU if they leave room for the training there; else in page-locked memory, or where they are
        mapped, and sent batch by batch."""
        if device.type != "cuda":
            return self
        if holds(self.pixels_NHWC.nbytes, device):
            return Images(self.pixels_NHWC.to(device), self.label_N.to(device))
        if self.soon is not None:
            return self
        return Images(self.pixels_NHWC.pin_memory(), self.label_N.pin_memory())


@dataclass(frozen=True)
class Batch:
    """Examples as a network takes them, their targets (see `targets`), and their places in the whole.

    Of mixed examples `share` is what is left of them; for the rest they are those with the labels `partner_y_B`.
    """

    x: Tensor
    y_B: Tensor
    index_B: Tensor
    partner_y_B: Tensor | None = None
    share: float = 1.0

    def __len__(self) -> int:
        return len(self.y_B)

    def part(self, first: int, end: int) -> "Batch":
        """The batch of the examples `first` … `end` − 1."""
        partner_y_B = None if self.partner_y_B is None else self.partner_y_B[first:end]
        return Batch(self.x[first:end], self.y_B[first:end], self.index_B[first:end], partner_y_B, self.share)


class Prepare:
    """The way from stored pixels to what a network takes: on the device, scaled to 0–1, normalised."""

    def __init__(self, spec: InputSpec, device: torch.device, layout: torch.memory_format) -> None:
        mean_C11 = torch.tensor(spec.mean, device=device)[:, None, None]
        std_C11 = torch.tensor(spec.std, device=device)[:, None, None]
        self._scale_C11, self._shift_C11 = 1 / (255 * std_C11), -mean_C11 / std_C11
        self._device, self._layout = device, layout

    def pixels(self, pixels_NHWC: Tensor, index_B: Tensor) -> Tensor:
        """uint8 [B,C,H,W]."""
        return send(pixels_NHWC.index_select(0, index_B), self._device).permute(0, 3, 1, 2)

    def normalised(self, x_BCHW: Tensor) -> Tensor:
        """float32 [B,C,H,W]: (x / 255 − mean) / std."""
        x_BCHW = x_BCHW.to(torch.float32, memory_format=self._layout)
        return x_BCHW.mul_(self._scale_C11).add_(self._shift_C11)


class Shuffled:
    """Every example once an epoch, in an order that is a pure function of (seed, stream, epoch).

    With `weight_N` an epoch has as many examples, drawn with replacement in proportion to these weights.

    An epoch's `count` examples are spread evenly over ⌈count / batch_size⌉ batches: none has more than `batch_size`,
    and none is a leftover of one or two on which batch norm would fail.  `make` builds a batch from the places of its
    examples (int64 [B], on the CPU); if it draws random numbers, then from `generators`, which join the snapshot.
    `soon` is told of the places of a batch before the one before it is made.
    """

    def __init__(
        self,
        run: Run,
        count: int,
        batch_size: int,
        make: Callable[[Tensor], Batch],
        *,
        generators: Sequence[Generator] = (),
        weight_N: Tensor | None = None,
        stream: str = "data",
        soon: Callable[[Tensor], None] | None = None,
    ) -> None:
        self._soon = soon
        self._seed, self._stream, self._count = run.seed, stream, count
        self._make, self._generators, self._weight_N = make, generators, weight_N
        self._bounds = bounds(count, batch_size)

    @property
    def per_epoch(self) -> int:
        return len(self._bounds) - 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        index_N = self._order(epoch)
        for batch in range(start, self.per_epoch):
            if self._soon is not None:
                self._soon(self._places(index_N, batch + 1))
            yield self._make(self._places(index_N, batch))

    def _places(self, index_N: Tensor, batch: int) -> Tensor:
        """Places of a batch's examples; none, after the last batch."""
        first, end = (self._bounds[min(i, self.per_epoch)] for i in (batch, batch + 1))
        return index_N[first:end]

    def _order(self, epoch: int) -> Tensor:
        """Drawn on the CPU, so that every device sees the same."""
        generator = seeds.generator(self._seed, self._stream, "order", epoch)
        if self._weight_N is not None:
            return torch.multinomial(self._weight_N, self._count, replacement=True, generator=generator)
        return torch.randperm(self._count, generator=generator)

    def state_dict(self) -> State:
        return {"generators": [generator.get_state() for generator in self._generators]}

    def load_state_dict(self, state: State) -> None:
        for generator, generator_state in zip(self._generators, state["generators"], strict=True):
            generator.set_state(generator_state)


def image_batches(
    run: Run,
    images: Images,
    *,
    prepare: Prepare,
    batch_size: int,
    augment: Augment | None = None,
    mix: Mix | None = None,
    weight_N: Tensor | None = None,
    stream: str = "data",
) -> Shuffled:
    """Batches of images, augmented, normalised and then mixed."""
    generator = run.generator(stream, "augment")
    mixer = seeds.generator(run.seed, stream, "mix")

    def make(index_B: Tensor) -> Batch:
        place_B = send(index_B, images.label_N.device)
        x_BCHW = prepare.pixels(images.pixels_NHWC, place_B)
        if augment is not None:
            x_BCHW = augment(x_BCHW, generator)
        y_B = send(images.label_N.index_select(0, place_B), x_BCHW.device)
        x_BCHW = prepare.normalised(x_BCHW)
        if mix is None:
            return Batch(x_BCHW, y_B, index_B)
        mixed = mix(x_BCHW, mixer)
        return Batch(mixed.x_BCHW, y_B, index_B, y_B[mixed.partner_B], mixed.share)

    generators = (generator, mixer)
    return Shuffled(
        run,
        len(images),
        batch_size,
        make,
        generators=generators,
        weight_N=weight_N,
        stream=stream,
        soon=images.soon,
    )


def row_batches(
    run: Run, x_ND: Tensor, label_N: Tensor, *, batch_size: int, weight_N: Tensor | None = None, stream: str = "data"
) -> Shuffled:
    """Batches of the rows of a tensor on the run's device: cached features, for instance."""

    def make(index_B: Tensor) -> Batch:
        place_B = send(index_B, x_ND.device)
        return Batch(x_ND.index_select(0, place_B), label_N.index_select(0, place_B), index_B)

    return Shuffled(run, len(label_N), batch_size, make, weight_N=weight_N, stream=stream)


def bounds(count: int, batch_size: int) -> list[int]:
    """Places where the batches of an epoch begin, and the end of the last."""
    batches = math.ceil(count / batch_size)
    return [count * i // batches for i in range(batches + 1)]
