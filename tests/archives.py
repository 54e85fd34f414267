"""Small datasets in the archives that users have, byte for byte in their official forms."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Members = Mapping[str, bytes]

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_FINE = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
_COARSE = (
    "aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices "
    "household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes "
    "large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees "
    "vehicles_1 vehicles_2"
)
CIFAR100 = _FINE.split()
CIFAR100_COARSE = _COARSE.split()


@dataclass(frozen=True)
class Examples:
    """`images` uint8 [N,H,W,C], `labels` int64 [N]."""

    images: Pixels
    labels: NDArray[np.int64]

    @property
    def coarse(self) -> NDArray[np.int64]:
        """A second set of labels, 20 of them, that the first one settles."""
        return self.labels % 20

    def __len__(self) -> int:
        return len(self.labels)


def examples(count: int, classes: int, shape: tuple[int, int, int] = (32, 32, 3), seed: int = 0) -> Examples:
    """Learnable: every class has a pattern of its own, under noise.  Classes take turns."""
    patterns = np.random.default_rng(123).uniform(60, 196, (classes, *shape))
    labels = np.arange(count) % classes
    noise = np.random.default_rng(seed).normal(0, 20, (count, *shape))
    return Examples(np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8), labels)


def encoded(image: Pixels, format: str = "PNG", **options: Any) -> bytes:
    """[H,W], [H,W,1] or [H,W,3] as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image).save(
        buffer, format, **options
    )
    return buffer.getvalue()


def zipped(members: Members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(
    members: Members | Iterable[tarfile.TarInfo], compression: str = "", format: int = tarfile.GNU_FORMAT
) -> bytes:
    """Plain, or by `compression`: gz, bz2, xz.  Instead of names with contents, bare headers will do."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for item in members.items() if isinstance(members, Mapping) else members:
            if isinstance(item, tarfile.TarInfo):
                archive.addfile(item)
            else:
                info = tarfile.TarInfo(item[0])
                info.size = len(item[1])
                archive.addfile(info, io.BytesIO(item[1]))
    return COMPRESSORS[compression](buffer.getvalue())


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def folders(data: Examples, names: list[str], root: str = "", format: str = "PNG") -> dict[str, bytes]:
    """Members: one folder a class."""
    return {
        f"{root}{names[label]}/{number:04}.{format.lower()}": encoded(image, format)
        for number, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True))
    }


def idx(array: NDArray[np.uint8]) -> bytes:
    """Type and dimensions big-endian, then the elements."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_pair(data: Examples, split: str = "train", compress: bool = True) -> dict[str, bytes]:
    """Members: grey images and their labels, as MNIST names them; `split` is train or t10k."""
    members = {
        f"{split}-images-idx3-ubyte": idx(data.images[:, :, :, 0]),
        f"{split}-labels-idx1-ubyte": idx(data.labels.astype(np.uint8)),
    }
    return {f"{name}.gz": gzip.compress(content) for name, content in members.items()} if compress else members


def npz(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def table(lines: Iterable[Iterable[str]]) -> bytes:
    return "".join(",".join(line) + "\n" for line in lines).encode()


def python2(value: Any) -> bytes:
    """A pickle as Python 2 and its NumPy wrote it, protocol 2."""
    return b"\x80\x02" + b"".join(_python2(value)) + b"."


def _python2(value: Any) -> Iterable[bytes]:
    match value:
        case dict():
            yield b"}("
            for key, content in value.items():
                yield from _python2(key)
                yield from _python2(content)
            yield b"u"
        case list():
            yield b"](" + b"".join(part for content in value for part in _python2(content)) + b"e"
        case str() | bytes():
            text = value.encode() if isinstance(value, str) else value
            yield (
                b"U" + struct.pack("<B", len(text)) + text
                if len(text) < 256
                else b"T" + struct.pack("<i", len(text)) + text
            )
        case int():
            yield b"K" + struct.pack("<B", value) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
        case np.ndarray():
            yield b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R("
            yield b"K\x01" + b"(" + b"".join(part for side in value.shape for part in _python2(side)) + b"t"
            yield b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            yield from _python2(value.tobytes())
            yield b"tb"


def cifar10_python(
    train: Examples, test: Examples, batches: int = 5, pickled: Callable[[Any], bytes] = python2
) -> bytes:
    """`cifar-10-python.tar.gz`, its members in their official order."""
    parts = {f"data_batch_{number}": part for number, part in enumerate(_cut(train, batches), 1)} | {"test_batch": test}
    records = {
        name: {
            "data": _planes(part.images),
            "labels": part.labels.tolist(),
            "batch_label": f"{name} of {batches}",
            "filenames": _filenames(part),
        }
        for name, part in parts.items()
    }
    records["batches.meta"] = {"num_cases_per_batch": 10000, "label_names": CIFAR10, "num_vis": 3072}
    order = sorted(records, key=lambda name: "42315".find(name[-1]))
    members = {f"cifar-10-batches-py/{name}": pickled(records[name]) for name in order}
    return tarred(members | {"cifar-10-batches-py/readme.html": b"<meta HTTP-EQUIV='REFRESH'>"}, "gz")


def cifar10_binary(train: Examples, test: Examples, batches: int = 5) -> bytes:
    """`cifar-10-binary.tar.gz`."""
    parts = {f"data_batch_{number}.bin": part for number, part in enumerate(_cut(train, batches), 1)}
    members = {name: _records(part.images, part.labels) for name, part in (parts | {"test_batch.bin": test}).items()}
    members["batches.meta.txt"] = "\n".join([*CIFAR10, "", ""]).encode()
    members["readme.html"] = b"<meta HTTP-EQUIV='REFRESH'>"
    return tarred({f"cifar-10-batches-bin/{name}": content for name, content in members.items()}, "gz")


def cifar100_python(train: Examples, test: Examples, pickled: Callable[[Any], bytes] = python2) -> bytes:
    """`cifar-100-python.tar.gz`."""
    records: dict[str, Any] = {
        name: {
            "filenames": _filenames(part),
            "batch_label": f"{name}ing batch 1 of 1",
            "fine_labels": part.labels.tolist(),
            "coarse_labels": part.coarse.tolist(),
            "data": _planes(part.images),
        }
        for name, part in (("train", train), ("test", test))
    }
    records["meta"] = {"fine_label_names": CIFAR100, "coarse_label_names": CIFAR100_COARSE}
    members = {f"cifar-100-python/{name}": pickled(record) for name, record in records.items()}
    return tarred({"cifar-100-python/file.txt~": b""} | members, "gz")


def cifar100_binary(train: Examples, test: Examples) -> bytes:
    """`cifar-100-binary.tar.gz`."""
    members = {
        "train.bin": _records(train.images, train.coarse, train.labels),
        "test.bin": _records(test.images, test.coarse, test.labels),
        "coarse_label_names.txt": "\n".join([*CIFAR100_COARSE, ""]).encode(),
        "fine_label_names.txt": "\n".join([*CIFAR100, ""]).encode(),
    }
    return tarred({f"cifar-100-binary/{name}": content for name, content in members.items()}, "gz")


def _cut(data: Examples, parts: int) -> list[Examples]:
    pieces = zip(np.array_split(data.images, parts), np.array_split(data.labels, parts), strict=True)
    return [Examples(images, labels) for images, labels in pieces if len(labels)]


def _planes(images: Pixels) -> Pixels:
    """[N,3072]: red, green, blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def _records(images: Pixels, *labels: NDArray[np.int64]) -> bytes:
    return np.concatenate([np.stack(labels, 1).astype(np.uint8), _planes(images)], axis=1).tobytes()


def _filenames(data: Examples) -> list[str]:
    return [f"image_s_{number:06}.png" for number in range(len(data))]
