"""What every peer shares: the task, the start, the measuring of an epoch and of the result.

A peer is a script that trains in its own idiom, in a process of its own.  It waits before every epoch for a line on
its standard input and answers with what the epoch cost, so that the epochs of several peers can be run in turn.  After
the last one it gives the accuracy on the test images.
"""

import argparse
import json
import os
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import psutil
import torch
import torchvision
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks import build

CLASSES, BATCH = 10, 64
RATE, MOMENTUM = 0.02, 0.9  # SGD with Nesterov's momentum, constant, no decay
SCALE = (0.64, 1.0)  # of the resized crop
PADDING = 4  # of the random crop; mirrored left and right with probability .5
GREY = InputSpec(size=(28, 28), channels=1, mean=(0.286,), std=(0.353,))
PHOTOGRAPHS = InputSpec(size=(224, 224), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
COLOUR = InputSpec(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


@dataclass(frozen=True)
class Task:
    """`name` is the network, drawn from `seed`; `workers` are a DataLoader's.

    With `plain` images are not augmented, with `resized` a random part of them is cut and resized.
    """

    name: str
    folder: Path
    epochs: int
    steps: int
    workers: int
    plain: bool
    resized: bool
    seed: int

    @property
    def spec(self) -> InputSpec:
        return {"resnet18": COLOUR, "lite0": PHOTOGRAPHS}.get(self.name, GREY)

    @property
    def batch(self) -> int:
        """Images a step: few where they are large, since the networks of all peers are in memory at a time."""
        return 16 if self.name == "lite0" else BATCH

    def network(self) -> nn.Module:
        """The same weights in every process."""
        torch.manual_seed(self.seed)
        if self.name == "cnn3":
            return build.build(NetworkSpec(name="cnn3", num_classes=CLASSES), GREY)
        if self.name == "lite0":
            return build.build(NetworkSpec(name="timm/tf_efficientnet_lite0", num_classes=CLASSES), PHOTOGRAPHS)
        if self.name == "resnet18":
            return torchvision.models.resnet18(num_classes=CLASSES)
        return nn.Sequential(OrderedDict(flatten=nn.Flatten(), head=nn.Linear(28 * 28, CLASSES)))

    def train(self) -> tuple[Tensor, Tensor]:
        """uint8 [N,H,W,C] and labels: stored ones for `cnn3` (Fashion-MNIST) and `lite0` (photographs), else random."""
        count = self.steps * self.batch
        if self.name not in ("cnn3", "lite0"):
            generator = torch.Generator().manual_seed(0)
            shape = (count, *self.spec.size, self.spec.channels)
            pixels_NHWC = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
            return pixels_NHWC, torch.randint(CLASSES, (count,), generator=generator)
        pixels_NHWC, label_N = self._stored("train")
        return pixels_NHWC[:count].contiguous(), label_N[:count].contiguous()

    def test(self) -> tuple[Tensor, Tensor]:
        return self._stored("test")

    def _stored(self, split: str) -> tuple[Tensor, Tensor]:
        arrays = np.load(self.folder / f"{split}.npz")
        return torch.from_numpy(arrays["pixels_NHWC"]), torch.from_numpy(arrays["label_N"])


def task() -> Task:
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=("cnn3", "resnet18", "empty", "lite0"), default="cnn3")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--resized", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = (options.epochs, options.steps, options.workers, options.plain, options.resized, options.seed)
    return Task(options.task, options.folder, *chosen)


class Gate:
    """`wait` before an epoch, `done` after it.  What a library prints goes to standard error."""

    def __init__(self) -> None:
        self._answers: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._wall_s = self._cpu_s = 0.0

    def wait(self) -> None:
        self._tell({"ready": True})
        if not sys.stdin.readline():
            raise SystemExit("nobody asks any more")
        self._wall_s, self._cpu_s = time.perf_counter(), _cpu_s()

    def done(self, epochs: int = 1) -> None:
        """`epochs` were made: those that are too quick for the clock of the CPU time, which ticks in 10 ms."""
        wall_s, cpu_s = time.perf_counter() - self._wall_s, _cpu_s() - self._cpu_s
        self._tell({"wall_s": wall_s / epochs, "cpu_s": cpu_s / epochs})

    def end(self, task: Task, network: nn.Module) -> None:
        self._tell({"accuracy": accuracy(task, network) if task.name == "cnn3" else None})

    def _tell(self, what: dict[str, object]) -> None:
        print(json.dumps(what), file=self._answers, flush=True)


def normalised(spec: InputSpec, pixels_BHWC: Tensor) -> Tensor:
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    return pixels_BHWC.permute(0, 3, 1, 2).float().div(255).sub(mean_C11).div(std_C11)


def accuracy(task: Task, network: nn.Module) -> float:
    """On the test images, in batches, without gradients; the same for all."""
    pixels_NHWC, label_N = task.test()
    network.eval()
    with torch.inference_mode():
        guess_N = torch.cat([network(normalised(task.spec, part)).argmax(1) for part in pixels_NHWC.split(250)])
    return (guess_N == label_N).float().mean().item()


def _cpu_s() -> float:
    """Of this process and of the workers that it has or had."""
    mine = os.times()
    children = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return (
        mine.user + mine.system + mine.children_user + mine.children_system + sum(c.user + c.system for c in children)
    )
