"""Carving: stratified, seeded, nobody left out, and what is there already kept."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from worker.ingest.naming import TEST, TRAIN, UNSPLIT, VALIDATION
from worker.ingest.parsed import DEFAULT_FRACTIONS
from worker.ingest.splits import carve
from worker.runtime.contract import Failure

ALL = (TRAIN, VALIDATION, TEST)


def counts(split_N: np.ndarray, chosen: np.ndarray | slice = np.s_[:]) -> list[int]:
    return np.bincount(split_N[chosen], minlength=3).tolist()


def unsplit(count: int) -> np.ndarray:
    return np.full(count, UNSPLIT, np.uint8)


def fractions(train: float, validation: float, test: float) -> dict:
    return {"train": train, "validation": validation, "test": test}


def test_shares_are_those_that_are_asked_for_in_every_class() -> None:
    label = np.repeat([0, 1, 2], [100, 200, 1000])
    split = carve(label, unsplit(1300), DEFAULT_FRACTIONS, seed=0)
    assert [counts(split, label == k) for k in range(3)] == [[70, 10, 20], [140, 20, 40], [700, 100, 200]]
    split = carve(label, unsplit(1300), fractions(0.5, 0.25, 0.25), seed=0)
    assert [counts(split, label == k) for k in range(3)] == [[50, 25, 25], [100, 50, 50], [500, 250, 250]]


def test_what_is_brought_is_kept() -> None:
    label = np.arange(300) % 3
    brought = np.repeat(np.array(ALL, np.uint8), 100)
    assert np.array_equal(carve(label, brought, DEFAULT_FRACTIONS, seed=0), brought)


@pytest.mark.parametrize(("brought", "missing", "share"), [(TEST, VALIDATION, 0.125), (VALIDATION, TEST, 2 / 9)])
def test_the_missing_one_gets_its_share_of_what_is_not_brought(brought: int, missing: int, share: float) -> None:
    label = np.arange(2000) % 2
    given = np.repeat(np.array([TRAIN, brought], np.uint8), 1000)
    split = carve(label, given, DEFAULT_FRACTIONS, seed=0)
    assert (split[1000:] == brought).all()
    assert (split[:1000] == missing).sum() == pytest.approx(1000 * share, abs=2)
    assert (split[:1000] != brought).all()


def test_the_seed_decides_and_nothing_else() -> None:
    label = np.arange(500) % 5
    first, again, other = (carve(label, unsplit(500), DEFAULT_FRACTIONS, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert counts(first) == counts(other)


def test_images_are_spread_over_the_class() -> None:
    """Not the first or the last, which may have been taken in a row."""
    split = carve(np.zeros(1000, int), unsplit(1000), DEFAULT_FRACTIONS, seed=0)
    assert abs(np.flatnonzero(split == TEST).mean() - 500) < 60


@pytest.mark.parametrize(
    ("images", "expected"), [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (4, [2, 1, 1]), (10, [7, 1, 2])]
)
def test_a_rare_class_trains_first_then_tests(images: int, expected: list[int]) -> None:
    label = np.repeat([0, 1], [images, 100])
    assert counts(carve(label, unsplit(len(label)), DEFAULT_FRACTIONS, seed=0), label == 0) == expected


@pytest.mark.parametrize("per_class", [1, 2])
def test_too_few_to_split(per_class: int) -> None:
    label = np.repeat(np.arange(50), per_class)
    with pytest.raises(Failure, match="too_few_images"):
        carve(label, unsplit(len(label)), DEFAULT_FRACTIONS, seed=0)
    assert counts(carve(label, unsplit(len(label)), fractions(1, 0, 0), seed=0)) == [len(label), 0, 0]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.tuples(st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1)),
    st.integers(0, 2**31 - 1),
    st.lists(st.sampled_from([TRAIN, VALIDATION, TEST, UNSPLIT]), max_size=30),
)
def test_of_any_dataset(sizes: list[int], parts: tuple[float, float, float], seed: int, brought: list[int]) -> None:
    wanted = dict(zip(("train", "validation", "test"), parts, strict=True))
    label = np.repeat(np.arange(len(sizes)), sizes)
    given = unsplit(len(label))
    given[: len(brought)] = brought[: len(label)]
    try:
        split = carve(label, given, wanted, seed)
    except Failure:
        assume(False)
    assert set(split.tolist()) <= set(ALL)
    kept = (given != UNSPLIT) & (given != TRAIN)
    assert np.array_equal(split[kept], given[kept])
    for number, part in ((VALIDATION, parts[1]), (TEST, parts[2])):
        if part == 0 and not (given == number).any():
            assert not (split == number).any()
    pool = ~kept
    for k in range(len(sizes)):
        if (pool & (label == k)).any():
            assert (split[pool & (label == k)] == TRAIN).any()
