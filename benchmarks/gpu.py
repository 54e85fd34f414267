"""Training and serving on a GPU, against the bare loop and the bare network.

    python benchmarks/gpu.py [--device cuda] [--images 50000] [--batch 512] [--rounds 5] [--seconds 3]

Needs PyTorch and torchvision, and neither FastAPI nor a database.

training  epochs of ResNet-18 on random images shaped as CIFAR's, in bfloat16, cropped and mirrored on the device, the
          pixels resident there: by the engine, and by a loop that does nothing else; as torchvision has it, whose stem
          halves the image twice, and with a stem of 3×3 that keeps it as it is
serving   ResNet-18 at 32×32: many callers of the batcher, and batches of 32 that lie ready
"""

import argparse
import asyncio
import gc
import itertools
import math
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import ledger
from app.contract.inputs import InputSpec
from app.methods.training import Training
from app.serving.batcher import Batcher
from worker.data.batches import Images
from worker.export.served import Served
from worker.methods import supervision
from worker.methods.supervision import Examples
from worker.methods.task import Task
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Command
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.torch_server.plain import Plain

SPEC = InputSpec(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
CLASSES, PADDING = 10, 4
CALLERS, EACH, BATCH = 256, (1, 16), 32
RATE, MOMENTUM, EPOCHS = 0.05, 0.9, 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=CLASSES)


def small_stem() -> nn.Module:
    made = network()
    made.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    made.maxpool = nn.Identity()
    return made


NETWORKS = {"ResNet-18": network, "ResNet-18 with a stem of 3×3": small_stem}


def images(count: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels_NHWC = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return Images(pixels_NHWC, torch.randint(CLASSES, (count,), generator=generator))


def synchronise(on: torch.device) -> None:
    if on.type == "cuda":
        torch.cuda.synchronize(on)


def peak_mib(on: torch.device, do: Callable[[], list[float]]) -> tuple[list[float], float]:
    if on.type != "cuda":
        return do(), math.nan
    gc.collect()
    torch.cuda.reset_peak_memory_stats(on)
    found = do()
    return found, torch.cuda.max_memory_allocated(on) / 2**20


def ours(on: torch.device, made: nn.Module, seen: Images, batch: int) -> list[float]:
    """Seconds of each epoch but the first."""
    structure = Structure.of(made, SPEC)
    device.place(made, on)
    params = Training.model_validate(
        {
            "epochs": EPOCHS,
            "batch_size": batch,
            "learning_rate": RATE,
            "momentum": MOMENTUM,
            "weight_decay": 0.0,
            "scheduler": "constant",
            "precision": "bfloat16",
            "augmentation": [{"name": "random_crop", "padding": PADDING}, {"name": "horizontal_flip"}],
        }
    ).resolve(len(seen), SPEC.size)
    asked, at = itertools.count(), []
    steps = math.ceil(len(seen) / batch)

    def before_batch(_: Recorder) -> Command | None:
        if next(asked) % steps == 0:
            synchronise(on)
            at.append(time.perf_counter())
        return None

    learner = Classifier(made, structure, SPEC, [str(k) for k in range(CLASSES)])
    with tempfile.TemporaryDirectory() as folder, device.reproducible(on, 0):
        run = Run(Recorder(before_batch), Path(folder), device=on, snapshot_every_s=math.inf)
        nothing = Images(seen.pixels_NHWC[:0], seen.label_N[:0])
        supervision.learn(Task(run, target=None), learner, params, Examples(seen, nothing))
    synchronise(on)
    at.append(time.perf_counter())
    return [end - begin for begin, end in itertools.pairwise(at)][1:]


def bare(on: torch.device, made: nn.Module, seen: Images, batch: int) -> list[float]:
    """The same seconds."""
    device.place(made, on)
    made.train()
    optimizer = torch.optim.SGD(made.parameters(), RATE, momentum=MOMENTUM, nesterov=True, fused=True)
    pixels_NHWC, label_N = seen.pixels_NHWC.to(on), seen.label_N.to(on)
    padded_NHWC = F.pad(pixels_NHWC, (0, 0, *[PADDING] * 4))
    windows = padded_NHWC.unfold(1, 32, 1).unfold(2, 32, 1)
    mean_C11, std_C11 = (torch.tensor(values, device=on)[:, None, None] for values in (SPEC.mean, SPEC.std))
    scale_C11, shift_C11 = 1 / (255 * std_C11), -mean_C11 / std_C11
    found = []
    torch.backends.cudnn.benchmark = True
    for _ in range(EPOCHS):
        synchronise(on)
        began = time.perf_counter()
        for index_B in torch.randperm(len(label_N), device=on).split(batch):
            top_B, left_B = torch.randint(2 * PADDING + 1, (2, len(index_B)), device=on)
            x_BCHW = windows[index_B, top_B, left_B]
            flip_B = torch.rand(len(index_B), device=on) < 0.5
            x_BCHW = torch.where(flip_B[:, None, None, None], x_BCHW.flip(-1), x_BCHW)
            x_BCHW = x_BCHW.to(torch.float32, memory_format=torch.channels_last).mul_(scale_C11).add_(shift_C11)
            with torch.autocast(on.type, torch.bfloat16):
                loss = F.cross_entropy(made(x_BCHW), label_N[index_B])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        synchronise(on)
        found.append(time.perf_counter() - began)
    return found[1:]


def training(on: torch.device, count: int, batch: int, rounds: int) -> list[ledger.Row]:
    rows, seen = [], images(count)
    for name, make in NETWORKS.items():
        shares, speeds, memory = [], [], []
        for _ in range(rounds):
            theirs, bare_mib = peak_mib(on, lambda make=make: bare(on, make(), seen, batch))
            mine, our_mib = peak_mib(on, lambda make=make: ours(on, make(), seen, batch))
            shares.append(sum(theirs) / sum(mine))
            speeds.append(count * len(mine) / sum(mine))
            memory.append((our_mib, our_mib / bare_mib))
        rows += [
            ledger.measured(f"{name} at 32×32, bfloat16: engine against the bare loop", shares, limit=("≥", 0.95)),
            ledger.measured(f"{name}: images a second by the engine", speeds, digits=0),
        ]
        if on.type == "cuda":
            mib, share = zip(*memory, strict=True)
            rows += [
                ledger.measured(f"{name}: peak memory of the device", mib, digits=0, unit="MiB"),
                ledger.measured(f"{name}: peak memory, over that of the bare loop", share),
            ]
    return rows


def serving(on: torch.device, rounds: int, seconds: float) -> list[ledger.Row]:
    made = network()
    structure = Structure.of(made.eval(), SPEC)
    plain = Plain(Served(made, structure, SPEC), on, features=structure.features)
    batch_NHWC = images(BATCH).pixels_NHWC.numpy()
    plain.predict(batch_NHWC)
    shares: dict[int, list[float]] = {each: [] for each in EACH}
    speeds: dict[int, list[float]] = {each: [] for each in EACH}
    for _ in range(rounds):
        ready = _ready(plain, batch_NHWC, seconds)
        for each in EACH:
            asked = asyncio.run(_asked(plain, batch_NHWC, each, seconds))
            shares[each].append(asked / ready)
            speeds[each].append(asked)
    rows = []
    for each in EACH:
        who = f"{CALLERS} callers of the batcher, {each} image{'s' * (each > 1)} each"
        rows += [
            ledger.measured(f"ResNet-18 at 32×32: {who}, over batches that lie ready", shares[each]),
            ledger.measured(f"{who}: images a second", speeds[each], digits=0),
        ]
    return rows


def _ready(plain: Plain, batch_NHWC: np.ndarray, seconds: float) -> float:
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        plain.predict(batch_NHWC)
        count += len(batch_NHWC)
    return count / (time.perf_counter() - began)


async def _asked(plain: Plain, batch_NHWC: np.ndarray, each: int, seconds: float) -> float:
    def process(pixels: list[np.ndarray]) -> list[object]:
        return list(plain.predict(np.stack(pixels))[0])

    batcher = Batcher(process, max_batch=BATCH, capacity=4 * CALLERS * each, name="gpu")
    began = time.perf_counter()

    async def caller(images: list[np.ndarray]) -> int:
        count = 0
        while time.perf_counter() - began < seconds:
            count += len(await batcher.submit(images, 60))
        return count

    try:
        taken = [[batch_NHWC[(i + k) % BATCH] for k in range(each)] for i in range(CALLERS)]
        counts = await asyncio.gather(*map(caller, taken))
    finally:
        batcher.close()
    return sum(counts) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    on = torch.device(options.device)
    rows = training(on, options.images, options.batch, options.rounds) + serving(on, options.rounds, options.seconds)
    for row in rows:
        print(row)
    if on.type == "cuda":
        card = f"{torch.cuda.get_device_name(on)}, CUDA {torch.version.cuda}, {platform.node()}"
        ledger.write("GPU", "python benchmarks/gpu.py", rows, [card])


if __name__ == "__main__":
    main()
