"""Batches in parts: the same gradient, and a way on where memory runs out for real."""

import multiprocessing
import resource
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from worker.data.batches import Batch
from worker.runtime.contract import Note
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.training.accumulation import Accumulator


def gradient(tmp_path, size):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    batch = Batch(torch.randn(13, 5).double(), torch.randint(3, (13,)), torch.arange(13))
    losses = Accumulator(Run(Recorder(), tmp_path), network, size).backward(
        batch, lambda part: {"loss": F.cross_entropy(network(part.x), part.y_B)}
    )
    return losses["loss"].item(), torch.cat([weight.grad.flatten() for weight in network.parameters()])


@pytest.mark.parametrize("size", [4, 6, 12])
def test_loss_and_gradient_are_those_of_the_whole_batch(tmp_path, size):
    loss, whole = gradient(tmp_path, None)
    in_parts, accumulated = gradient(tmp_path, size)
    assert in_parts == pytest.approx(loss, abs=1e-12)
    torch.testing.assert_close(accumulated, whole, rtol=0, atol=1e-12)


def _limited(folder: Path, answer) -> None:
    """One step whose activations take some 800 MiB as a whole, where there are 400."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 64, 3), nn.BatchNorm2d(64), nn.Dropout(0.1), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(2, 1, 16, 16))
    steps = network[1].num_batches_tracked.item()
    batch = Batch(torch.randn(4096, 1, 16, 16), torch.randint(3, (4096,)), torch.arange(4096))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    limit = int(status["VmData"].split()[0]) * 1024 + 400 * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    recorder = Recorder()
    run = Run(recorder, folder)
    losses = Accumulator(run, network).backward(
        batch, lambda part: {"loss": F.cross_entropy(network(part.x), part.y_B)}
    )
    notes = [note.data["micro_batch_size"] for note in recorder.of(Note)]
    answer.send((run.micro_batch_size, notes, losses["loss"].item(), network[1].num_batches_tracked.item() - steps))


def test_where_memory_runs_out_the_step_begins_again_in_smaller_parts(tmp_path):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_limited, args=(tmp_path, theirs))
    child.start()
    theirs.close()
    size, notes, loss, seen = ours.recv()
    child.join()
    assert 4 <= size < 4096
    assert notes[-1] == size == 4096 // 2 ** len(notes)
    assert 0 < loss < 10
    assert seen == 4096 // size  # batch norm has not counted the attempts that failed
