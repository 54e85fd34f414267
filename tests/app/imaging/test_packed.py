"""What was packed comes back, bit for bit, whichever way it is asked for."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.inputs import InputSpec
from app.imaging import images, packed
from app.imaging.packed import SPLITS, PackedImages, PackedWriter

Images = list[np.ndarray]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def spec(height: int, width: int, channels: int, margin: int = 0, fit: str = "stretch") -> InputSpec:
    values = (0.5,) * channels
    return InputSpec(size=(height, width), channels=channels, mean=values, std=values, fit=fit, margin=margin)


def store(folder: Path, images: Images, rows: list[int] | None = None) -> PackedImages:
    """Images one by one; as the dataset has them, `rows` of them, labels 0, 1, 2, … and splits in turn."""
    order = np.arange(len(images)) if rows is None else np.array(rows)
    with PackedWriter(folder / "pixels") as writer:
        for image in images:
            writer.add(image)
        label = np.arange(len(order))
        writer.finish(folder / "index.npz", order, label, (label % 3).astype(np.uint8))
    return PackedImages.open(folder / "pixels", folder / "index.npz")


MIXED = [noise(4, 5, 1), noise(7, 3, 3, seed=1), noise(1, 1, 1, seed=2), noise(4, 5, 3, seed=3)]
EQUAL = [noise(6, 5, 3, seed=seed) for seed in range(7)]


@pytest.mark.parametrize("stored", [MIXED, EQUAL], ids=["mixed", "equal"])
def test_images_come_back(tmp_path: Path, stored: Images) -> None:
    found = store(tmp_path, stored)
    assert len(found) == len(stored)
    for row, image in enumerate(stored):
        assert np.array_equal(found[row], image)
        assert found[row].shape == image.shape
    assert found.label.tolist() == list(range(len(stored)))
    assert found.label.dtype == np.int64
    assert (tmp_path / "pixels").stat().st_size == sum(image.size for image in stored)


def test_splits_are_ascending_and_tell_all_apart(tmp_path: Path) -> None:
    found = store(tmp_path, EQUAL)
    rows = {split: found.rows(split) for split in SPLITS}
    assert [rows[split].tolist() for split in SPLITS] == [[0, 3, 6], [1, 4], [2, 5]]
    assert all(part.dtype == np.int64 for part in rows.values())


@pytest.mark.parametrize("stored", [MIXED, EQUAL], ids=["mixed", "equal"])
def test_the_dataset_has_an_order_of_its_own_and_may_leave_images_out(tmp_path: Path, stored: Images) -> None:
    found = store(tmp_path, stored, rows=[3, 0, 2])
    assert [np.array_equal(found[row], stored[number]) for row, number in enumerate([3, 0, 2])] == [True] * 3
    wanted = spec(6, 5, 3)
    expected = np.stack([images.fit(stored[number], wanted) for number in (2, 3)])
    assert np.array_equal(found.fitted(np.array([2, 0]), wanted), expected)


def test_many_at_once_are_as_many_one_by_one(tmp_path: Path) -> None:
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    one = store(tmp_path / "one", EQUAL)
    with PackedWriter(tmp_path / "many" / "pixels") as writer:
        writer.extend(np.stack(EQUAL[:5]))
        writer.extend(np.stack([image.transpose(1, 0, 2) for image in EQUAL[5:]]).transpose(0, 2, 1, 3))  # not in order
        assert len(writer) == len(EQUAL)
        writer.finish(tmp_path / "many" / "index.npz", np.arange(7), one.label, one.split)
    for file in ("pixels", "index.npz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "many" / file).read_bytes()


@pytest.mark.parametrize("stored", [MIXED, EQUAL], ids=["mixed", "equal"])
@pytest.mark.parametrize(
    "wanted", [spec(6, 5, 3), spec(6, 5, 3, margin=1), spec(6, 5, 1), spec(9, 4, 3, fit="pad"), spec(4, 5, 1)]
)
def test_fitted_is_fit_of_each(tmp_path: Path, stored: Images, wanted: InputSpec) -> None:
    rows = np.array([3, 0, 1, 3])
    fitted = store(tmp_path, stored).fitted(rows, wanted)
    assert fitted.flags.c_contiguous
    assert fitted.flags.writeable
    assert fitted.dtype == np.uint8
    assert np.array_equal(fitted, np.stack([images.fit(stored[row], wanted) for row in rows]))


def test_more_images_than_a_thread_takes_at_a_time(tmp_path: Path) -> None:
    stored = list(noise(2 * packed.CHUNK + 7, 3, 4, 1))
    fitted = store(tmp_path, stored).fitted(np.arange(len(stored)), spec(4, 4, 3))
    assert np.array_equal(fitted, np.stack([images.fit(image, spec(4, 4, 3)) for image in stored]))


def test_what_fits_already_is_not_looked_at_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = store(tmp_path, EQUAL)
    monkeypatch.setattr(images, "fit", None)
    assert np.array_equal(found.fitted(np.array([6, 2]), spec(6, 5, 3)), np.stack([EQUAL[6], EQUAL[2]]))


def test_of_no_images_none(tmp_path: Path) -> None:
    for wanted in (spec(6, 5, 3), spec(2, 2, 1)):
        fitted = store(tmp_path, EQUAL).fitted(np.array([], np.int64), wanted)
        assert fitted.shape == (0, *wanted.size, wanted.channels)


def test_names_of_files_and_other_labels(tmp_path: Path) -> None:
    """They come back where they are known, and stay with the same images when labels change."""
    index, other = tmp_path / "index.npz", tmp_path / "other.npz"
    stored = store(tmp_path, EQUAL)
    assert packed.names(index) is None
    names = [f"ä/{number}.png" for number in range(7)]
    stored.relabel(index, stored.label, None, names)
    again = PackedImages.open(tmp_path / "pixels", index)
    assert packed.names(index) == names
    target = np.eye(7, dtype=np.uint8)
    again.relabel(other, again.label[::-1], target, names)
    revised = PackedImages.open(tmp_path / "pixels", other)
    assert (packed.names(other), revised.label.tolist()) == (names, [6, 5, 4, 3, 2, 1, 0])
    assert np.array_equal(revised.target, target)
    assert np.array_equal(revised.split, stored.split)
    assert all(np.array_equal(revised[row], stored[row]) for row in range(7))


def test_the_median_shape_suits_most_and_keeps_colour(tmp_path: Path) -> None:
    assert store(tmp_path, [noise(4, 9, 1), noise(5, 9, 3), noise(60, 9, 1)]).median_shape == (5, 9, 3)
    assert store(tmp_path, [noise(4, 9, 1), noise(5, 9, 1)]).median_shape == (4, 9, 1)


def test_the_index_holds_no_pickle(tmp_path: Path) -> None:
    store(tmp_path, MIXED)
    with np.load(tmp_path / "index.npz", allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype.kind for name in arrays} == {
            "offset": "i", "shape": "i", "label": "i", "split": "u",
        }  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_any_shapes_in_any_order(tmp_path_factory: pytest.TempPathFactory, shapes: list, random: object) -> None:
    stored = [noise(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    rows = random.sample(range(len(stored)), random.randint(1, len(stored)))  # type: ignore[attr-defined]
    found = store(tmp_path_factory.mktemp("packed"), stored, rows)
    assert all(np.array_equal(found[row], stored[number]) for row, number in enumerate(rows))
