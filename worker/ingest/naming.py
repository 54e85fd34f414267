"""The names of folders, tables and arrays, as they are read: splits as people call them, parts of one set, and mere
wrapping."""

import re
from collections.abc import Collection, Iterable, Mapping

TRAIN, VALIDATION, TEST = range(3)  # places in `app.imaging.packed.SPLITS`
UNSPLIT = 255  # the name does not say

OwnNames = Mapping[str, int]  # what a request calls splits, in lower case

_SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "trainset": TRAIN,
    "trainingset": TRAIN,
    "trainval": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "valset": VALIDATION,
    "validationset": VALIDATION,
    "dev": VALIDATION,
    "devset": VALIDATION,
    "test": TEST,
    "testing": TEST,
    "testset": TEST,
    "t10k": TEST,
    "holdout": TEST,
    "eval": TEST,
    "evaluation": TEST,
}
_EVALUATION = {"eval", "evaluation"}  # beside a test split they mean validation
_UNLABELLED = {"pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled", "unsup", "unsupervised"}
_IMAGES = {"image", "images", "img", "imgs", "jpegimages", "pngimages", "jpg", "jpeg", "png"}
_BESIDE = {"annotation", "annotations", "mask", "masks", "label", "labels", "segmentation", "segmentations", "bboxes"}
_WRAPPING = _IMAGES | {"set", "sets", "data", "dataset", "split", "splits", "folder", "files", "photos", "pictures"}
_PARTS = _IMAGES | {"part", "parts", "batch", "chunk", "shard", "fold", "subset", "volume", "vol", "disk", "archive"}
_PARTS |= {"data", "dataset", "split", "folder", "dir"}

_WORD = re.compile("[a-z0-9]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words(name: str) -> set[str]:
    """The words in the last part of a path: `mnist/train-images.gz` has train, images and gz."""
    return set(_WORD.findall(name.rpartition("/")[2].lower()))


def split_in(name: str) -> int:
    """The split that a file's name speaks of."""
    return min((_SPLITS.get(word, UNSPLIT) for word in words(name)), default=UNSPLIT)


def split_of(name: str, own: OwnNames) -> int:
    """The split that a folder, or a cell of a table, of this name stands for: `Training`, `test_set`, `train2017`."""
    mine = own.get(name.strip().lower())
    if mine is not None:
        return mine
    if name.lower() in _SPLITS:  # t10k is one word
        return _SPLITS[name.lower()]
    splits = [_SPLITS[word] for word in _letters(name) if word in _SPLITS]
    rest = [word for word in _letters(name) if word not in _SPLITS and word not in _WRAPPING]
    return splits[0] if len(splits) == 1 and not rest else UNSPLIT


def splits_of(names: Iterable[str], own: OwnNames) -> dict[str, int]:
    """The split of each of the names that stand side by side; where there is a test split, `eval` is not another."""
    splits = {name: split_of(name, own) for name in names}
    evaluations = {name for name in splits if name.lower() not in own and _EVALUATION & set(_letters(name))}
    if any(split == TEST and name not in evaluations for name, split in splits.items()):
        splits |= dict.fromkeys(evaluations, VALIDATION)
    return splits


def family(names: Collection[str]) -> dict[str, int] | None:
    """The splits of names that are equal but for a word that says which: `seg_train`, `seg_test`, `seg_pred`.

    A name for images without labels has `UNSPLIT`.  None where they are no such family.
    """
    marks = {name: [word for word in _letters(name) if word in _SPLITS or word in _UNLABELLED] for name in names}
    rests = {tuple(word for word in _letters(name) if word not in marks[name] + list(_WRAPPING)) for name in names}
    if len(names) < 2 or len(rests) > 1 or any(len(mark) != 1 for mark in marks.values()):
        return None
    splits = {name: _SPLITS.get(mark[0], UNSPLIT) for name, mark in marks.items()}
    return splits if set(splits.values()) - {UNSPLIT} else None


def speaks_of_splits(names: Iterable[str]) -> set[int]:
    """The splits that any word of any of the names stands for."""
    return {_SPLITS[word] for name in names for word in _letters(name) if word in _SPLITS}


def is_unlabelled(name: str) -> bool:
    """Tell whether a folder says itself that its images have no labels."""
    return bool(_UNLABELLED & set(_letters(name)))


def are_parts(names: Collection[str]) -> bool:
    """Tell whether the names are numbered parts of one whole: `images_part_1` and `images_part_2`, not `grade_1`."""
    stems = {tuple(word for word in _letters(name) if len(word) > 1) for name in names}
    return len(names) > 1 and len(stems) == 1 and bool(_PARTS & set(*stems))


def is_wrapping(name: str) -> bool:
    """Tell whether a folder is called what it holds, not what that shows: `images`."""
    letters = set(_letters(name))
    return bool(letters) and letters <= _WRAPPING and not letters.isdisjoint(_IMAGES)


def is_beside(name: str) -> bool:
    """Tell whether a folder is called as those are that hold what belongs to the images: `masks`."""
    letters = set(_letters(name))
    return bool(letters) and letters <= _BESIDE


def _letters(name: str) -> list[str]:
    return [word.lower() for word in _LETTERS.findall(_HUMP.sub(" ", name))]
