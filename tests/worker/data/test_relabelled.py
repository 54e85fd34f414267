"""Labels that are made anew before every epoch, and survive within it."""

import torch

from app.contract.inputs import InputSpec
from worker.data import batches as data
from worker.data.relabelled import Relabelled
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run


def batches(tmp_path, label):
    run = Run(Recorder(), tmp_path)
    rows = data.row_batches(run, torch.arange(10.0)[:, None], torch.full((10,), -1), batch_size=4)
    return Relabelled(rows, label)


def test_each_example_has_its_own_label_and_each_epoch_new_ones(tmp_path):
    calls = iter(range(10))
    stream = batches(tmp_path, lambda: torch.arange(10) + 100 * next(calls))
    for epoch in range(2):
        for batch in stream.epoch(epoch):
            assert batch.y_B.tolist() == (batch.x[:, 0] + 100 * epoch).tolist()


def test_within_an_epoch_labels_come_from_the_snapshot(tmp_path):
    stream = batches(tmp_path, lambda: torch.arange(10))
    part = stream.epoch(3)
    next(part)
    resumed = batches(tmp_path, lambda: torch.zeros(10, dtype=torch.int64))
    resumed.load_state_dict(stream.state_dict())
    rest, other = list(part), list(resumed.epoch(3, start=1))
    assert [batch.y_B.tolist() for batch in rest] == [batch.y_B.tolist() for batch in other]
    assert [batch.y_B.tolist() for batch in resumed.epoch(4)] == [[0] * len(batch) for batch in stream.epoch(4)]


def test_labels_are_made_before_the_first_batch_is_drawn(tmp_path):
    """What is interrupted while it labels has drawn nothing, and loses no random number."""
    run = Run(Recorder(), tmp_path)
    images = data.Images(torch.zeros(8, 4, 4, 1, dtype=torch.uint8), torch.full((8,), -1))
    spec = InputSpec(size=(4, 4), channels=1, mean=(0.5,), std=(0.25,))
    prepare = data.Prepare(spec, run.device, torch.channels_last)
    drawn = []

    def augment(x_BCHW, generator):
        drawn.append(torch.rand((), generator=generator))
        return x_BCHW

    rows = data.image_batches(run, images, prepare=prepare, batch_size=4, augment=augment)
    seen = []

    def label():
        seen.append(len(drawn))
        return torch.zeros(8, dtype=torch.int64)

    stream = Relabelled(rows, label)
    for epoch in range(2):
        list(stream.epoch(epoch))
    assert seen == [0, 2]
