"""timm, put together as its train.py does it: dataset, loader with prefetching, optimiser; the script is no part of
its wheel.  Its own crop (a random part of 64 % of the image or more, resized) stands for the padded one."""

import common
import torch
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter
from torch import nn


def main() -> None:
    task, gate = common.task(), common.Gate()
    device, mode = torch.device("cpu"), "L" if task.spec.channels == 1 else "RGB"
    data = create_loader(
        create_dataset("", root=str(task.folder), split="train", is_training=True, input_img_mode=mode),
        input_size=(task.spec.channels, *task.spec.size),
        batch_size=task.batch,
        is_training=True,
        scale=common.SCALE,
        ratio=(1.0, 1.0),
        hflip=0.5,
        color_jitter=0.0,
        interpolation="bilinear",
        mean=task.spec.mean,
        std=task.spec.std,
        num_workers=task.workers,
        persistent_workers=task.workers > 0,
        device=device,
    )
    network = task.network()
    optimizer = create_optimizer_v2(network, opt="sgd", lr=common.RATE, momentum=common.MOMENTUM, weight_decay=0.0)
    criterion = nn.CrossEntropyLoss()
    for _ in range(task.epochs):
        gate.wait()
        network.train()
        losses = AverageMeter()
        for x_BCHW, y_B in data:
            loss = criterion(network(x_BCHW), y_B)
            losses.update(loss.item(), len(y_B))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        gate.done()
    gate.end(task, network)


if __name__ == "__main__":
    main()
