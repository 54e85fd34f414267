"""Photographs as people have them, brought to archives that a service takes."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg")


def classes(folder: Path) -> dict[str, list[Path]]:
    """Of each class, a folder, its images in the order of their names."""
    found = {each.name: _images(each) for each in sorted(folder.iterdir()) if each.is_dir()}
    if not found or not all(found.values()):
        raise SystemExit(f"{folder} has no folders of images, one a class.")
    return found


def pack(path: Path, splits: Mapping[str, Mapping[str, list[Path]]]) -> None:
    """A zip of `split/class/image`, the images as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for split, by_class in splits.items():
            for name, images in by_class.items():
                for image in images:
                    archive.write(image, Path(split, name, image.name))


def some(by_class: Mapping[str, list[Path]], count: int | None) -> dict[str, list[Path]]:
    """Of each class the first `count` images; None: all."""
    return {name: images[:count] for name, images in by_class.items()}


def split(by_class: Mapping[str, list[Path]], train: int, test: int, seed: int) -> dict[str, dict[str, list[Path]]]:
    """Of each class `train` images to learn from, but no more than half of it, a fourth as many for validation, and up
    to `test` of the rest; a seed has the same images for every method."""
    found: dict[str, dict[str, list[Path]]] = {"train": {}, "validation": {}, "test": {}}
    for name, images in by_class.items():
        order = [images[place] for place in np.random.default_rng(seed).permutation(len(images))]
        learned = min(train, len(order) // 2)
        judged = learned + learned // 4
        found["train"][name], found["validation"][name] = order[:learned], order[learned:judged]
        found["test"][name] = order[judged : judged + test]
    return found


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
