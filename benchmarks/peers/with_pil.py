"""torchvision's usual recipe: a dataset of PIL images, transforms one by one, a DataLoader."""

import common
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder


class Pictures(Dataset[tuple[Tensor, int]]):
    """As torchvision's own FashionMNIST: an array in memory, an image made of it at each access."""

    def __init__(self, task: common.Task) -> None:
        pixels_NHWC, self._label_N = task.train()
        self._pixels_NHW = pixels_NHWC[..., 0]
        self._transform = transforms.Compose(steps(task))

    def __len__(self) -> int:
        return len(self._label_N)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels_NHW[i].numpy(), mode="L")), int(self._label_N[i])


def steps(task: common.Task) -> list[nn.Module | transforms.ToTensor]:
    return [
        transforms.RandomCrop(task.spec.size, padding=common.PADDING),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(task.spec.mean, task.spec.std),
    ]


def files(task: common.Task) -> ImageFolder:
    """Photographs as they lie on the disk, JPEG files in a folder a class."""
    return ImageFolder(task.folder / "train", transforms.Compose([transforms.Resize(task.spec.size), *steps(task)]))


def loader(task: common.Task) -> DataLoader[tuple[Tensor, int]]:
    pictures = files(task) if task.name == "lite0" else Pictures(task)
    return DataLoader(pictures, task.batch, shuffle=True, num_workers=task.workers, persistent_workers=task.workers > 0)


def main() -> None:
    task, gate = common.task(), common.Gate()
    network, data = task.network(), loader(task)
    optimizer = torch.optim.SGD(network.parameters(), common.RATE, momentum=common.MOMENTUM, nesterov=True)
    for _ in range(task.epochs):
        gate.wait()
        network.train()
        for x_BCHW, y_B in data:
            optimizer.zero_grad()
            F.cross_entropy(network(x_BCHW), y_B).backward()
            optimizer.step()
        gate.done()
    gate.end(task, network)


if __name__ == "__main__":
    main()
