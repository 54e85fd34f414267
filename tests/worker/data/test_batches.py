import itertools

import pytest
import torch

from app.contract.inputs import InputSpec
from worker.data import batches as data
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

CPU = torch.device("cpu")


@pytest.mark.parametrize(("count", "size", "batches"), [(100, 16, 7), (9, 8, 2), (8, 8, 1), (1, 8, 1), (7, 100, 1)])
def test_batches_are_spread_evenly(count, size, batches):
    bounds = data.bounds(count, size)
    sizes = [end - start for start, end in itertools.pairwise(bounds)]
    assert (len(sizes), sum(sizes)) == (batches, count)
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def rows(tmp_path, seed=0, stream="data"):
    run = Run(Recorder(), tmp_path, seed=seed)
    return data.row_batches(run, torch.arange(10.0)[:, None], torch.arange(10), batch_size=4, stream=stream)


def order(batches, epoch, start=0):
    return [batch.y_B.tolist() for batch in batches.epoch(epoch, start)]


def test_order_is_a_function_of_seed_stream_and_epoch(tmp_path):
    batches = rows(tmp_path)
    assert order(batches, 3) == order(rows(tmp_path), 3)
    assert order(batches, 3, start=2) == order(batches, 3)[2:]
    assert sorted(y for batch in order(batches, 3) for y in batch) == list(range(10))
    others = (order(batches, 4), order(rows(tmp_path, seed=1), 3), order(rows(tmp_path, stream="source"), 3))
    assert all(other != order(batches, 3) for other in others)


def test_pixels_are_scaled_and_normalised(tmp_path):
    """Trap 9: the input contract of the source, applied as written: (x / 255 − mean) / std per channel."""
    spec = InputSpec(size=(4, 5), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = torch.randint(0, 256, (6, 4, 5, 3), dtype=torch.uint8)
    images = data.Images(pixels, torch.arange(6))
    for layout in (torch.channels_last, torch.contiguous_format):
        prepare = data.Prepare(spec, CPU, layout)
        [batch] = data.image_batches(Run(Recorder(), tmp_path), images, prepare=prepare, batch_size=6).epoch(0)
        expected = (pixels[batch.index_B].double() / 255 - torch.tensor(spec.mean)) / torch.tensor(spec.std)
        torch.testing.assert_close(batch.x.double(), expected.permute(0, 3, 1, 2), atol=1e-6, rtol=1e-6)
        assert batch.x.is_contiguous(memory_format=layout)
        assert torch.equal(batch.y_B, batch.index_B)


def test_stored_pixels_are_never_written(tmp_path):
    spec = InputSpec(size=(4, 4), channels=1, mean=(0.0,), std=(1.0,))
    pixels = torch.randint(0, 256, (8, 4, 4, 1), dtype=torch.uint8)
    before = pixels.clone()
    prepare = data.Prepare(spec, CPU, torch.channels_last)
    batches = data.image_batches(
        Run(Recorder(), tmp_path), data.Images(pixels, torch.zeros(8).long()), prepare=prepare, batch_size=4
    )
    for batch in batches.epoch(0):
        batch.x.zero_()
    assert torch.equal(pixels, before)
