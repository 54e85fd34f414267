"""The limit: a plain PyTorch loop over an in-memory uint8 tensor, cropped and mirrored by the batch."""

import common
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine import device


def cut(padded_NHWC: Tensor, index_B: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [B,H,W,C]: for each image a window of its own, mirrored or not, in one gathering."""
    count, (height, width) = len(index_B), size
    top_B, left_B = torch.randint(2 * common.PADDING + 1, (2, count))
    mirror_B1 = torch.rand(count, 1) < 0.5
    column_W = torch.arange(width)
    column_BW = torch.where(mirror_B1, width - 1 - column_W, column_W) + left_B[:, None]
    row_BH = torch.arange(height) + top_B[:, None]
    return padded_NHWC[index_B[:, None, None], row_BH[:, :, None], column_BW[:, None, :]]


def main() -> None:
    task, gate = common.task(), common.Gate()
    device.keep_memory()
    network = task.network()
    device.place(network, torch.device("cpu"))
    layout = device.memory_format(network)
    optimizer = torch.optim.SGD(network.parameters(), common.RATE, momentum=common.MOMENTUM, nesterov=True, fused=True)
    pixels_NHWC, label_N = task.train()
    if not task.plain:
        pixels_NHWC = F.pad(pixels_NHWC, (0, 0, *[common.PADDING] * 4))
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (task.spec.mean, task.spec.std))
    scale_C11, shift_C11 = 1 / (255 * std_C11), -mean_C11 / std_C11
    for _ in range(task.epochs):
        gate.wait()
        network.train()
        for index_B in torch.randperm(len(label_N)).split(common.BATCH):
            x_BHWC = pixels_NHWC[index_B] if task.plain else cut(pixels_NHWC, index_B, task.spec.size)
            x_BCHW = x_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout).mul_(scale_C11).add_(shift_C11)
            loss = F.cross_entropy(network(x_BCHW), label_N[index_B])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        gate.done()
    gate.end(task, network)


if __name__ == "__main__":
    main()
