"""fastai: a DataBlock over image files, cropped one by one, mirrored and normalised by the batch, and a Learner."""

from functools import partial

import common
import torch
from fastai.vision import all as vision


class Turns(vision.Callback):
    def __init__(self, gate: common.Gate) -> None:
        self._gate = gate

    def before_epoch(self) -> None:
        self._gate.wait()

    def after_epoch(self) -> None:
        self._gate.done()


def main() -> None:
    task, gate = common.task(), common.Gate()
    side = task.spec.size[0]
    block = vision.DataBlock(
        blocks=(vision.ImageBlock(vision.PILImageBW), vision.CategoryBlock),
        get_items=vision.get_image_files,
        get_y=vision.parent_label,
        splitter=lambda items: (list(range(len(items))), []),
        item_tfms=[vision.CropPad(side + 2 * common.PADDING, pad_mode="zeros"), vision.RandomCrop(side)],
        batch_tfms=[
            vision.Flip(),
            vision.Normalize.from_stats(list(task.spec.mean), list(task.spec.std), cuda=False),
        ],
    )
    data = block.dataloaders(task.folder / "train", bs=common.BATCH, num_workers=task.workers, device="cpu")
    network = task.network()
    optimiser = partial(vision.OptimWrapper, opt=torch.optim.SGD, momentum=common.MOMENTUM, nesterov=True)
    learner = vision.Learner(data, network, vision.CrossEntropyLossFlat(), opt_func=optimiser, lr=common.RATE)
    with learner.no_bar(), learner.no_logging():
        learner.fit(task.epochs, cbs=[Turns(gate)])
    gate.end(task, network)


if __name__ == "__main__":
    main()
