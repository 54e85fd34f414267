"""The feature cache on disk: whole files or none, the least recently used go first, broken ones are computed again."""

import os
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from worker.runtime.cache import ABANDONED_S, Cache

KEY, OTHER, THIRD = "a" * 64, "b" * 64, "c" * 64


def tensors(seed: int = 0, count: int = 1000) -> dict[str, torch.Tensor]:
    return {"x_ND": torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))}


def files(folder):
    return sorted(path.name[:1] for path in folder.iterdir())


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "features", 40_000)


def test_what_was_put_is_there_bit_for_bit(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, tensors())
    assert torch.equal(cache.get(KEY)["x_ND"], tensors()["x_ND"])
    assert cache.get(OTHER) is None


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:]])
def test_a_broken_file_is_as_none(cache, tmp_path, damage):
    cache.put(KEY, tensors())
    [path] = (tmp_path / "features").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, tensors())
    assert torch.equal(cache.get(KEY)["x_ND"], tensors()["x_ND"])


def test_the_least_recently_read_goes_first(cache, tmp_path):
    for age, key in ((300, KEY), (200, OTHER)):
        cache.put(key, tensors())
        [path] = (tmp_path / "features").glob(f"{key}*")
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    assert cache.get(KEY) is not None  # read again, it is the younger of the two
    cache.put(THIRD, tensors())
    assert files(tmp_path / "features") == ["a", "c"]


def test_what_is_larger_than_all_of_it_is_not_kept(cache, tmp_path):
    cache.put(KEY, tensors())
    cache.put(OTHER, tensors(count=10_000))
    assert files(tmp_path / "features") == ["a"]


def test_only_files_that_were_abandoned_are_cleared_away(cache, tmp_path):
    cache.put(KEY, tensors())
    fresh, old = (tmp_path / "features" / name for name in ("tmp-fresh", "tmp-old"))
    for path in (fresh, old):
        path.write_bytes(b"x")
    os.utime(old, (0, old.stat().st_mtime - ABANDONED_S - 60))
    cache.put(OTHER, tensors())
    assert fresh.exists()
    assert not old.exists()


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path):
    (tmp_path / "features").write_bytes(b"a file where the folder should be")
    cache = Cache(tmp_path / "features", 40_000)
    cache.put(KEY, tensors())
    assert cache.get(KEY) is None


def _write(folder, seed):
    cache = Cache(folder, 40_000)
    for i in range(30):
        cache.put(KEY, tensors())
        cache.put(f"{seed}{i:063}", tensors(seed))
        found = cache.get(KEY)
        if found is not None and not torch.equal(found["x_ND"], tensors()["x_ND"]):
            return False
    return True


def test_many_may_write_and_evict_at_once(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        assert all(pool.map(_write, [tmp_path / "features"] * 4, range(1, 5)))
    assert sum(path.stat().st_size for path in (tmp_path / "features").iterdir()) <= 40_000
