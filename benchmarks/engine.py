"""What the engine's own choices are worth, each against the same without it, in one process.

    python benchmarks/engine.py [--rounds 5]

partial   ResNet-18 at 32×32, its last stage trained for five epochs on 2,048 images: from activations at the edge of
          what is frozen, and through the whole network
pace      a step of ResNet-18 as a trial on this machine has it (layout, precision), and as usual; and compiled
cache     256 MiB of features read from the feature cache and from a bare memory map, all looked at; and written
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

import ledger
from app.methods.supervised.fine_tune import FineTune
from probe import domain, source
from worker.methods.supervised import fine_tune
from worker.methods.task import Domain, Source, Task
from worker.runtime import device
from worker.runtime.cache import Cache
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.training import frozen_prefix, precision
from worker.training.precision import Numerics, Workload

CPU = torch.device("cpu")
LAST = FineTune(trainable="last_stages", frozen_epochs=0, augmentation="none", epochs=5, batch_size=64)
KEPT = frozen_prefix.MOST_BYTES
FEATURES = (2**17, 512)  # float32: 256 MiB


def partial(rounds: int) -> list[ledger.Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target, (origin, _) = domain(folder, 2048), source(folder)
        found = [(_trained(origin, target, 0), _trained(origin, target, KEPT)) for _ in range(rounds)]
    apart = max(abs(a - b) for (_, whole), (_, cut) in found for a, b in zip(whole, cut, strict=True))
    times = [whole_s / cut_s for (whole_s, _), (cut_s, _) in found]
    return [
        ledger.measured("partial fine-tuning, times as fast from activations at the edge of what is frozen", times),
        ledger.row("furthest that a training loss of these is apart", f"{apart:.1e}", "", "≤ 1e-06", apart <= 1e-6),
    ]


def _trained(origin: Source, target: Domain, most_bytes: int) -> tuple[float, list[float]]:
    frozen_prefix.MOST_BYTES = most_bytes
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder()
        run = Run(recorder, Path(folder))
        began = time.perf_counter()
        with device.reproducible(run.device, run.seed):
            fine_tune.run(Task(run, target, origin), LAST)
        return time.perf_counter() - began, recorder.series("loss", "train")


def paces(rounds: int) -> list[ledger.Row]:
    rows = []
    for side, batch in ((32, 64), (128, 16)):
        network = torchvision.models.resnet18(num_classes=10)
        device.place(network, CPU)
        with tempfile.TemporaryDirectory() as folder:
            work = Workload((3, side, side), batch, 10_000, ("float32", "bfloat16"))
            chosen = precision.settle(Run(Recorder(), Path(folder)), network, work)
        usual = precision.usual(network)
        times = [_step_s(network, side, batch, usual) / _step_s(network, side, batch, chosen) for _ in range(rounds)]
        what = f"a step of ResNet-18 at {side}×{side}, times as fast in {chosen.layout}, {chosen.precision}, as chosen"
        rows.append(ledger.measured(what, times))
    network = torchvision.models.resnet18(num_classes=10)
    device.place(network, CPU)
    usual, times = precision.usual(network), []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            eager_s = _step_s(network, 32, 64, usual)
            with precision.compiled(Run(Recorder(), Path(folder)), usual, network, torch.zeros(64, 3, 32, 32)):
                times.append(eager_s / _step_s(network, 32, 64, usual))
    rows.append(ledger.measured("a step of ResNet-18 at 32×32, times as fast compiled", times))
    return rows


def _step_s(network: nn.Module, side: int, batch: int, how: Numerics) -> float:
    """The fastest of some, after two that do not count."""
    x_BCHW = torch.randn(batch, 3, side, side).contiguous(memory_format=how.memory_format)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=how.precision == "bfloat16"):
            loss = network(x_BCHW).float().square().mean()
        network.zero_grad()
        loss.backward()

    network.train()
    with precision.kept(how, network):
        return min([_seconds(step) for _ in range(7)][2:])


def cache(rounds: int) -> list[ledger.Row]:
    x_ND = torch.rand(FEATURES)
    with tempfile.TemporaryDirectory() as name:
        folder, bare = Path(name), Path(name) / "bare"
        kept = Cache(folder / "cache", 2**30)

        def read() -> None:
            found = kept.get("a")
            assert found is not None
            found["x"].sum()

        def mapped() -> None:
            torch.from_numpy(np.memmap(bare, np.float32, "c")).sum()

        written, got = [], []
        for _ in range(rounds + 1):  # the first has the disk make room
            written.append(_seconds(lambda: kept.put("a", {"x": x_ND})) / _seconds(lambda: x_ND.numpy().tofile(bare)))
            got.append(_seconds(read) / _seconds(mapped))
        del written[0], got[0]
    return [
        ledger.measured("features read from the cache, over a bare memory map", got),
        ledger.measured("features written to the cache, over a bare file", written),
    ]


def _seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device.keep_memory()
    rows = partial(options.rounds) + paces(options.rounds) + cache(options.rounds)
    for row in rows:
        print(row)
    ledger.write("engine", "python benchmarks/engine.py", rows, [f"{torch.get_num_threads()} threads."])


if __name__ == "__main__":
    main()
