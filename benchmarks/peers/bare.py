"""The limit: a plain PyTorch loop over an in-memory uint8 tensor, cropped and mirrored by the batch."""

import common
import torch
import torch.nn.functional as F
from torch import Tensor

from worker.runtime import device


def windows(pixels_NHWC: Tensor) -> Tensor:
    """A view of all that a crop can be, of images padded once: [N,2p+1,2p+1,C,H,W]."""
    _, height, width, _ = pixels_NHWC.shape
    padded_NHWC = F.pad(pixels_NHWC, (0, 0, *[common.PADDING] * 4))
    return padded_NHWC.unfold(1, height, 1).unfold(2, width, 1)


def cut(windows: Tensor, index_B: Tensor) -> Tensor:
    """uint8 [B,C,H,W]: of each image a window of its own, mirrored or not."""
    top_B, left_B = torch.randint(2 * common.PADDING + 1, (2, len(index_B)))
    x_BCHW = windows[index_B, top_B, left_B]
    return torch.where((torch.rand(len(index_B)) < 0.5)[:, None, None, None], x_BCHW.flip(-1), x_BCHW)


def whole(pixels_NHWC: Tensor, index_B: Tensor) -> Tensor:
    return pixels_NHWC.index_select(0, index_B).permute(0, 3, 1, 2)


def main() -> None:
    task, gate = common.task(), common.Gate()
    device.keep_memory()
    network = task.network()
    device.place(network, torch.device("cpu"))
    layout = device.memory_format(network)
    optimizer = torch.optim.SGD(network.parameters(), common.RATE, momentum=common.MOMENTUM, nesterov=True, fused=True)
    pixels_NHWC, label_N = task.train()
    crops = windows(pixels_NHWC)
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (task.spec.mean, task.spec.std))
    scale_C11, shift_C11 = 1 / (255 * std_C11), -mean_C11 / std_C11
    for _ in range(task.epochs):
        gate.wait()
        network.train()
        for index_B in torch.randperm(len(label_N)).split(task.batch):
            x_BCHW = whole(pixels_NHWC, index_B) if task.plain else cut(crops, index_B)
            x_BCHW = x_BCHW.to(torch.float32, memory_format=layout).mul_(scale_C11).add_(shift_C11)
            loss = F.cross_entropy(network(x_BCHW), label_N.index_select(0, index_B))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        gate.done()
    gate.end(task, network)


if __name__ == "__main__":
    main()
