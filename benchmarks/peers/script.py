"""One image a step through PIL, until it has seen every image once; and ours, until it is as accurate.

Prints for both the wall and CPU seconds (looking at the accuracy is not counted) and the accuracy reached.
"""

import argparse
import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import common
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision import transforms
from with_regraft import settings

from worker.data.batches import Images
from worker.methods import supervision
from worker.methods.supervision import Examples
from worker.methods.task import Task
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Command, Interrupted
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

RATE, MOMENTUM = 0.001, 0.9
LOOK_EVERY, MOST_EPOCHS = 25, 30
Found = dict[str, float]


class Watch:
    """Wall and CPU seconds while it runs."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self.go()

    def go(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.wall_s += time.perf_counter() - self._wall_s
        self.cpu_s += time.process_time() - self._cpu_s

    def found(self, accuracy: float) -> Found:
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "accuracy": accuracy}


def one_by_one(task: common.Task, network: nn.Module) -> Found:
    pixels_NHWC, label_N = task.train()
    transform = transforms.Compose(
        [
            transforms.Resize(task.spec.size),
            transforms.ToTensor(),
            transforms.Normalize(task.spec.mean, task.spec.std),
        ]
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    network.train()
    watch = Watch()
    for i in torch.randperm(len(label_N)).tolist():
        x_CHW = transform(Image.fromarray(pixels_NHWC[i, :, :, 0].numpy(), mode="L"))
        optimizer.zero_grad()
        F.cross_entropy(network(x_CHW[None]), label_N[i : i + 1]).backward()
        optimizer.step()
    watch.stop()
    return watch.found(common.accuracy(task, network))


class Looking:
    """Asked before every batch: every so many of them it looks, and ends the training once it is accurate enough."""

    def __init__(self, task: common.Task, network: nn.Module, enough: float, watch: Watch) -> None:
        self._task, self._network, self._enough, self._watch = task, network, enough, watch
        self._asked, self.accuracy = 0, 0.0

    def __call__(self, _: Recorder) -> Command | None:
        self._asked += 1
        if self._asked % LOOK_EVERY != 1 or self._asked == 1:
            return None
        self._watch.stop()
        self.accuracy = common.accuracy(self._task, self._network)
        self._network.train()
        self._watch.go()
        return "cancel" if self.accuracy >= self._enough else None


def ours(task: common.Task, network: nn.Module, enough: float, seed: int) -> Found:
    device.keep_memory()
    structure = Structure.of(network, task.spec)
    device.place(network, torch.device("cpu"))
    seen = Images(*task.train())
    params = settings(replace(task, epochs=MOST_EPOCHS), len(seen))
    learner = Classifier(network, structure, task.spec, [str(k) for k in range(common.CLASSES)])
    nothing = Images(seen.pixels_NHWC[:0], seen.label_N[:0])
    with tempfile.TemporaryDirectory() as folder, device.reproducible(torch.device("cpu"), seed):
        watch = Watch()
        looking = Looking(task, network, enough, watch)
        run = Run(Recorder(looking), Path(folder), seed=seed, snapshot_every_s=math.inf)
        try:
            supervision.learn(Task(run, target=None), learner, params, Examples(seen, nothing))
        except Interrupted:
            watch.stop()
            return watch.found(looking.accuracy)
    raise RuntimeError(f"{looking.accuracy} after {MOST_EPOCHS} epochs, {enough} was to be reached")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = common.Task(
        "cnn3", options.folder, epochs=1, steps=options.steps, workers=0, plain=True, resized=False, seed=options.seed
    )
    torch.manual_seed(options.seed)
    script = one_by_one(task, task.network())
    print(json.dumps({"script": script, "ours": ours(task, task.network(), script["accuracy"], options.seed)}))


if __name__ == "__main__":
    main()
