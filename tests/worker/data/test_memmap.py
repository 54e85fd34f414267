"""Pixels in a file: the same numbers, and no memory."""

import errno
import subprocess
import sys

import pytest
import torch

from worker.data import batches as data
from worker.data.batches import Images
from worker.data.memmap import Memmap
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

SHAPE = (512, 64, 64, 3)


# Anonymous memory is what the system cannot take back by writing to, or forgetting of, a file.
# The question is put to a process of its own: in one that ran other tests, they would be measured too.
MEMORY = """
import sys
from pathlib import Path
import torch
from worker.data.memmap import Memmap

def anonymous_bytes():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024

def rows_filled_and_summed(pixels_NHWC):
    for start in range(0, len(pixels_NHWC), 512):
        pixels_NHWC[start : start + 512] = 7
    return sum(int(rows.sum()) for rows in torch.from_numpy(pixels_NHWC).split(512))

rows_filled_and_summed(Memmap(Path(sys.argv[1]), (512, 64, 64, 3)).pixels_NHWC)
before = anonymous_bytes()
mapped = Memmap(Path(sys.argv[1]), (8192, 64, 64, 3))
assert rows_filled_and_summed(mapped.pixels_NHWC) == 7 * mapped.pixels_NHWC.size
print(mapped.pixels_NHWC.nbytes, anonymous_bytes() - before)
"""


@pytest.fixture
def mapped(tmp_path):
    return Memmap(tmp_path, SHAPE)


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
    asked = [sys.executable, "-c", MEMORY, tmp_path]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    size, taken = map(int, told.split())
    assert size > 96e6
    assert taken < 16e6


def test_each_batch_is_told_of_before_the_one_before_it_is_made(tmp_path):
    told = []
    images = Images(torch.zeros(250, 1, 1, 1, dtype=torch.uint8), torch.zeros(250).long(), told.append)
    made = [index_B for index_B, _ in batches(tmp_path, images)]
    assert len(made) == 2  # of three: it began at the second
    assert torch.equal(told[0], made[1])
    assert len(told[1]) == 0


def test_a_full_disk_is_noticed_at_once(tmp_path):
    with pytest.raises(OSError) as caught:
        Memmap(tmp_path, (2**40, 1024, 1024, 1))
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
