"""Pixels in a file: the same numbers, and no memory."""

import errno
import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from worker.engine import data
from worker.engine.data import Images
from worker.engine.mapped import Mapped
from worker.engine.recorder import Recorder
from worker.engine.run import Run

SHAPE = (512, 64, 64, 3)


def anonymous_bytes():
    """Memory that the system cannot take back by writing to, or forgetting of, a file."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024


@pytest.fixture
def mapped(tmp_path):
    return Mapped(tmp_path, SHAPE)


def batches(tmp_path, images):
    seen = []

    def make(index_B):
        seen.append((index_B, images.pixels_NHWC.index_select(0, index_B)))
        return data.Batch(seen[-1][1], images.label_N[index_B], index_B)

    stream = data.Shuffled(Run(Recorder(), tmp_path), len(images), 100, make, soon=images.soon)
    for _ in stream.epoch(0, start=1):
        pass
    return seen


def test_rows_are_read_back_in_any_order(mapped, tmp_path):
    expected = torch.randint(0, 256, SHAPE, dtype=torch.uint8)
    mapped.pixels_NHWC[:] = expected.numpy()
    images = Images(torch.from_numpy(mapped.pixels_NHWC), torch.zeros(SHAPE[0]).long(), mapped.soon)
    seen = batches(tmp_path, images)
    assert len(seen) == 5
    assert all(torch.equal(pixels, expected[index_B]) for index_B, pixels in seen)
    assert not list(tmp_path.iterdir())  # the file has no name


def test_they_take_no_memory_of_their_own(tmp_path):
    shape = (4096, 64, 64, 3)
    before = anonymous_bytes()
    mapped = Mapped(tmp_path, shape)
    for start in range(0, len(mapped.pixels_NHWC), 512):
        mapped.pixels_NHWC[start : start + 512] = 7
    total = sum(int(rows.sum()) for rows in torch.from_numpy(mapped.pixels_NHWC).split(512))
    assert total == 7 * np.prod(shape)
    assert mapped.pixels_NHWC.nbytes > 48e6
    assert anonymous_bytes() - before < 16e6


def test_each_batch_is_told_of_before_the_one_before_it_is_made(tmp_path):
    told = []
    images = Images(torch.zeros(250, 1, 1, 1, dtype=torch.uint8), torch.zeros(250).long(), told.append)
    made = [index_B for index_B, _ in batches(tmp_path, images)]
    assert len(made) == 2  # of three: it began at the second
    assert torch.equal(told[0], made[1])
    assert len(told[1]) == 0


def test_a_full_disk_is_noticed_at_once(tmp_path):
    with pytest.raises(OSError) as caught:
        Mapped(tmp_path, (2**40, 1024, 1024, 1))
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
