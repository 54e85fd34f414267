"""Ours: what the method `train` runs, from its first batch on."""

import math
import tempfile
from pathlib import Path

import common
import torch

from app.methods.training import Training
from worker.data.batches import Images
from worker.methods import supervision
from worker.methods.supervision import Examples
from worker.methods.task import Task
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Command
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

FLIP = {"name": "horizontal_flip"}
PADDED = [{"name": "random_crop", "padding": common.PADDING}, FLIP]
RESIZED = [{"name": "random_resized_crop", "scale": common.SCALE, "ratio": (1.0, 1.0)}, FLIP]


class Turns:
    """Asked before every batch, as a supervisor is: at the start of an epoch it waits."""

    def __init__(self, gate: common.Gate, steps: int) -> None:
        self._gate, self._steps, self._asked = gate, steps, 0

    def __call__(self, _: Recorder) -> Command | None:
        if self._asked % self._steps == 0:
            if self._asked:
                self._gate.done()
            self._gate.wait()
        self._asked += 1
        return None


def main() -> None:
    task, gate = common.task(), common.Gate()
    device.keep_memory()
    network = task.network()
    structure = Structure.of(network, task.spec)
    device.place(network, torch.device("cpu"))
    seen = Images(*task.train())
    params = settings(task, len(seen))
    learner = Classifier(network, structure, task.spec, [str(k) for k in range(common.CLASSES)])
    turns = Turns(gate, task.steps)
    with tempfile.TemporaryDirectory() as folder, device.reproducible(torch.device("cpu"), task.seed):
        run = Run(Recorder(turns), Path(folder), seed=task.seed, snapshot_every_s=math.inf)
        supervision.learn(
            Task(run, target=None), learner, params, Examples(seen, Images(*(part[:0] for part in task.train())))
        )
    gate.done()
    gate.end(task, network)


def settings(task: common.Task, count: int) -> Training:
    return Training.model_validate(
        {
            "epochs": task.epochs,
            "batch_size": task.batch,
            "learning_rate": common.RATE,
            "momentum": common.MOMENTUM,
            "weight_decay": 0.0,
            "scheduler": "constant",
            "augmentation": "none" if task.plain else RESIZED if task.resized else PADDED,
        }
    ).resolve(count, task.spec.size)


if __name__ == "__main__":
    main()
