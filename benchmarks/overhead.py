"""What our own machinery costs: the engine against a bare PyTorch loop, and the statements of a job poll.

    python benchmarks/overhead.py [--rounds 5]

The bare loop and the engine train the same network from the same start on the same tensors with the same optimiser, in
turn, in one process.
"""

import argparse
import copy
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event
from torch import nn

import ledger
from app.core.settings import Settings
from app.main import create_app
from app.methods.inputs import InputSpec
from app.methods.networks import NetworkSpec
from app.methods.training import Training
from migrations import commands
from worker.engine import device
from worker.engine.data import Images
from worker.engine.recorder import Recorder
from worker.engine.run import Run
from worker.methods import supervised
from worker.methods.supervised import Examples
from worker.methods.task import Task
from worker.networks import anatomy, build
from worker.terms.base import Frame

SPEC = InputSpec(size=(32, 32), channels=3, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
RATE, MOMENTUM, DECAY, CLASSES = 0.05, 0.9, 5e-4, 10
STEPS = {"ResNet-18": 20, "cnn3": 60, "empty": 1000}
NOTE = (
    "The bare loop and the engine train the same network from the same start on the same tensors, in turn, in one "
    "process whose C library keeps its memory (`worker/engine/device.py: keep_memory`)."
)


def images(count: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels_NHWC = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return Images(pixels_NHWC, torch.randint(CLASSES, (count,), generator=generator))


def bare(network: nn.Module, data: Images, batch: int) -> float:
    """Seconds for one epoch: shuffle, index, normalise, forward, backward, step; nothing else."""
    network.train()
    optimizer = torch.optim.SGD(
        network.parameters(), RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY, fused=True
    )
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (SPEC.mean, SPEC.std))
    scale_C11, shift_C11 = 1 / (255 * std_C11), -mean_C11 / std_C11
    began = time.perf_counter()
    for index_B in torch.randperm(len(data)).split(batch):
        x_BCHW = data.pixels_NHWC.index_select(0, index_B).permute(0, 3, 1, 2)
        x_BCHW = x_BCHW.to(torch.float32, memory_format=torch.channels_last).mul_(scale_C11).add_(shift_C11)
        loss = F.cross_entropy(network(x_BCHW), data.label_N.index_select(0, index_B))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def engine(network: nn.Module, data: Images, batch: int) -> float:
    """Seconds for one epoch by the engine, from its first batch to its last."""
    params = Training(
        epochs=1, batch_size=batch, learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY, augmentation="none"
    ).resolve(len(data), SPEC.size)
    nothing = Images(data.pixels_NHWC[:0], data.label_N[:0])
    with tempfile.TemporaryDirectory() as folder:
        task = Task(Run(Recorder(), Path(folder)), target=None)
        learner = Frame(network, anatomy.study(network, SPEC), SPEC, [str(k) for k in range(CLASSES)])
        began = time.perf_counter()
        supervised.learn(task, learner, params, Examples(data, nothing))
        return time.perf_counter() - began


def networks() -> dict[str, nn.Module]:
    """`empty` is there for what a step costs besides the network."""
    cnn3 = build.build(NetworkSpec(name="cnn3", num_classes=CLASSES), SPEC)
    return {
        "ResNet-18": torchvision.models.resnet18(num_classes=CLASSES),
        "cnn3": cnn3,
        "empty": nn.Sequential(
            OrderedDict(pool=nn.AvgPool2d(32), flatten=nn.Flatten(), head=nn.Linear(3, CLASSES)),
        ),
    }


def training(start: nn.Module, rounds: int, steps: int, batch: int) -> list[tuple[float, float]]:
    """Seconds for `steps` steps, of the bare loop and of the engine, in each round."""
    device.place(start, torch.device("cpu"))
    data = images(steps * batch)
    for loop in (bare, engine):
        loop(copy.deepcopy(start), images(2 * batch), batch)
    return [(bare(copy.deepcopy(start), data, batch), engine(copy.deepcopy(start), data, batch)) for _ in range(rounds)]


def poll() -> int:
    """Statements that one poll of a job costs, authentication included, in the application that serves it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        commands.upgrade(settings.database)
        app = create_app(settings)
        with TestClient(app) as client:
            client.headers["Authorization"] = f"Bearer {settings.first_key.read_text().strip()}"
            file = client.post("/v1/files", params={"filename": "x"}, content=b"x").json()["id"]
            dataset = client.post("/v1/datasets", json={"name": "x", "file": file}).json()["id"]
            method = {"name": "train", "network": {"name": "cnn3", "num_classes": CLASSES}}
            job = client.post("/v1/jobs", json={"dataset": dataset, "method": method}).json()["id"]
            with counted() as statements:
                client.get(f"/v1/jobs/{job}").raise_for_status()
    return len(statements)


@contextmanager
def counted() -> Iterator[list[str]]:
    statements: list[str] = []

    def count(connection: object, cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    device.keep_memory()
    rows = []
    for name, network in networks().items():
        steps = STEPS[name]
        found = training(network, options.rounds, steps, options.batch)
        if name == "empty":
            above = [1e3 * (ours_s - bare_s) / steps for bare_s, ours_s in found]
            rows.append(
                ledger.row("a step of a network with next to nothing in it, above the bare loop, ms", above, most=0.1)
            )
        else:
            ratios = [bare_s / ours_s for bare_s, ours_s in found]
            what = f"engine over a bare PyTorch loop, {name} at 32×32, batches of {options.batch}, images a second"
            rows.append(ledger.row(what, ratios, least=0.97))
    rows.append(ledger.row("statements of a job poll, authentication included", [poll()], most=2))
    ledger.write("overhead", "What our own machinery costs", "python benchmarks/overhead.py", rows, [NOTE])


if __name__ == "__main__":
    main()
