"""How a training computes is measured where that repays, and replayed."""

import time

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from worker.runtime.contract import Note, Snapshot
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.training import precision as numerics
from worker.training.precision import Numerics, Workload

LONG = Workload((3, 8, 8), 4, 1_000_000, ("float32", "bfloat16"))


class Slow(nn.Module):
    """A convolution that dawdles in one layout or precision."""

    def __init__(self, *, in_layout: torch.memory_format | None = None, in_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.in_layout, self.in_dtype = in_layout, in_dtype

    def forward(self, x):
        made = self.conv(x)
        slow_layout = self.in_layout is not None and x.is_contiguous(memory_format=self.in_layout)
        time.sleep(0.02 * (slow_layout + (made.dtype is self.in_dtype)))
        return self.drop(self.norm(made)).mean((2, 3))


@pytest.fixture
def run(tmp_path):
    return Run(Recorder(), tmp_path)


def settled(run, network, work=LONG):
    return numerics.settle(run, network, work)


def test_the_faster_layout_is_taken_and_told(run):
    found = settled(run, Slow(in_layout=torch.channels_last, in_dtype=torch.bfloat16))
    assert found == Numerics("contiguous", "float32")
    assert run.numerics == {"layout": "contiguous", "precision": "float32"}
    [note] = [note for note in run._channel.of(Note) if note.type == "pace"]
    assert note.data == run.numerics


def test_the_faster_precision_is_taken_if_it_may(run, tmp_path):
    network = Slow(in_layout=torch.contiguous_format, in_dtype=torch.float32)
    assert settled(run, network) == Numerics("channels_last", "bfloat16")
    only = Workload(LONG.shape, LONG.batch_size, LONG.steps, ("float32",))
    assert settled(Run(Recorder(), tmp_path), network, only).precision == "float32"


def test_a_short_training_is_left_as_usual(run):
    assert settled(run, Slow(in_layout=torch.channels_last), Workload((3, 8, 8), 4, 100, LONG.precisions)) == Numerics(
        "channels_last", "float32"
    )


def test_what_was_chosen_is_part_of_a_snapshot(run, tmp_path):
    chosen = settled(run, Slow(in_layout=torch.channels_last, in_dtype=torch.bfloat16))
    run._save()
    [snapshot] = run._channel.of(Snapshot)
    resumed = Run(Recorder(), tmp_path, snapshot=snapshot.path)
    assert settled(resumed, Slow(in_layout=torch.contiguous_format)) == chosen  # though the other were faster now
    assert settled(resumed.part("other"), Slow(in_layout=torch.contiguous_format)) == chosen  # one for all parts


def test_layouts_are_tried_only_where_that_is_asked_for(run):
    only_precision = Workload(LONG.shape, LONG.batch_size, LONG.steps, LONG.precisions, layouts=False)
    network = Slow(in_layout=torch.channels_last, in_dtype=torch.float32)
    assert settled(run, network, only_precision) == Numerics("channels_last", "bfloat16")


def test_a_look_touches_neither_the_network_nor_random_numbers(run):
    network = Slow(in_layout=torch.channels_last).to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    settled(run, network)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_layout_is_kept_for_the_training_only():
    network = Slow().to(memory_format=torch.channels_last)
    with numerics.kept(Numerics("contiguous", "float32"), network):
        assert network.conv.weight.is_contiguous()
    assert network.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_autocast_is_of_the_loss_and_leaves_weights_alone():
    network = nn.Linear(3, 2)
    seen = []

    def loss(batch, moment):
        made = network(batch)
        seen.append(made.dtype)
        return {"loss": made.float().sum()}

    for precision in ("float32", "bfloat16"):
        cast = numerics.cast(Numerics("contiguous", precision), torch.device("cpu"), loss)
        cast(torch.ones(4, 3), None)["loss"].backward()
    assert seen == [torch.float32, torch.bfloat16]
    assert network.weight.grad.dtype is torch.float32


@pytest.mark.parametrize("part", ["forward", "backward"])
def test_what_cannot_be_compiled_is_told_and_trained_as_it_is(run, monkeypatch, part):
    """The compiler of the machine is missing, or breaks on the gradients."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.ones(4, 3, 8, 8)

    def broken(graph, inputs):
        raise RuntimeError("no compiler\nat all\nof any kind")

    def as_it_is(graph, inputs):
        return make_boxed_func(graph.forward)

    backend = aot_autograd(fw_compiler=broken if part == "forward" else as_it_is, bw_compiler=broken)
    monkeypatch.setattr(network, "compile", lambda: nn.Module.compile(network, backend=backend))
    with numerics.compiled(run, Numerics("contiguous", "float32"), network, x):
        network.train()(x).sum().backward()
    [note] = run._channel.of(Note)
    assert note.type == "not_compiled"
    assert "no compiler" in note.message
    assert "of any kind" not in note.message
    learned = {name for name, _ in network.named_parameters()}
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in learned)
    assert network[1].num_batches_tracked == 1  # the trial left nothing
