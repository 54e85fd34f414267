"""The data path alone: an epoch of batches, cropped, mirrored and normalised, with no network after it."""

import argparse
import sys
import tempfile
from pathlib import Path

import common
import torch
import with_pil
from with_regraft import PADDED

from app.methods.training import Training
from worker.data import batches as data
from worker.data import transforms
from worker.data.batches import Images, Prepare
from worker.runtime import device
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

PASSES = 30  # of ours at once


def ours(task: common.Task, run: Run) -> data.Shuffled:
    params = Training.model_validate({"augmentation": PADDED})
    assert isinstance(params.augmentation, list)
    return data.image_batches(
        run,
        Images(*task.train()),
        prepare=Prepare(task.spec, run.device, torch.channels_last),
        batch_size=common.BATCH,
        augment=transforms.compose(params.augmentation),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--path", choices=("ours", "pil"), required=True)
    chosen, sys.argv[1:] = parser.parse_known_args()
    task, gate = common.task(), common.Gate()
    passes = PASSES if chosen.path == "ours" else 1
    if chosen.path == "ours":
        device.keep_memory()
    pictures = with_pil.loader(task)
    with tempfile.TemporaryDirectory() as folder:
        batches = ours(task, Run(Recorder(), Path(folder)))
        for turn in range(task.epochs):
            gate.wait()
            for number in range(turn * passes, (turn + 1) * passes):
                for _ in batches.epoch(number) if chosen.path == "ours" else pictures:
                    pass
            gate.done(passes)
    gate.end(task, task.network())


if __name__ == "__main__":
    main()
