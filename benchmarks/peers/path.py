"""The data path alone: an epoch of batches, cropped, mirrored and normalised, with no network after it."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import common
import torch
import with_pil
from with_regraft import AUGMENTATION

from app.methods.training import Training
from worker.engine import augment, data, device
from worker.engine.data import Images, Prepare
from worker.engine.recorder import Recorder
from worker.engine.run import Run


def ours(task: common.Task, epoch: int, run: Run) -> Iterable[Any]:
    params = Training.model_validate({"augmentation": AUGMENTATION})
    assert isinstance(params.augmentation, list)
    batches = data.image_batches(
        run,
        Images(*task.train()),
        prepare=Prepare(task.spec, run.device, torch.channels_last),
        batch_size=common.BATCH,
        augment=augment.compose(params.augmentation),
    )
    return batches.epoch(epoch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", choices=("ours", "pil"), required=True)
    chosen, sys.argv[1:] = parser.parse_known_args()
    task, gate = common.task(), common.Gate()
    if chosen.path == "ours":
        device.keep_memory()
    pictures = with_pil.loader(task)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Recorder(), Path(folder))
        for epoch in range(task.epochs):
            batches = ours(task, epoch, run) if chosen.path == "ours" else pictures
            gate.wait()
            for _ in batches:
                pass
            gate.done()
    gate.end(task, task.network())


if __name__ == "__main__":
    main()
