"""What a linear probe costs: all of its training part against one bare forward pass over the same images.

    python benchmarks/probe.py [--images 4096] [--epochs 50] [--rounds 5]

ResNet-18 at 32×32, in one process.  The bare pass only runs the network over the prepared images in large batches.  The
probe is the method's own function, from opening the source's weights to the trained head, with an empty feature cache
and again with a full one.  The limit is 1.2 × the bare pass + 1 s.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

import ledger
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import DatasetSpec
from app.imaging.packed import PackedWriter
from app.methods.supervised.linear_probe import LinearProbe
from worker.methods.supervised import linear_probe
from worker.methods.task import Domain, Source, Task
from worker.networks import build
from worker.runtime import device
from worker.runtime.cache import Cache
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

INPUT = InputSpec(size=(32, 32), channels=3, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
NETWORK = NetworkSpec(name="torchvision/resnet18", num_classes=1000)
CLASSES, BATCH = 10, 256
VALIDATION = 1 / 8


def domain(folder: Path, count: int, input: InputSpec = INPUT) -> Domain:
    """Random images, an eighth of them for validation."""
    random = np.random.default_rng(0)
    label_N, split_N = np.arange(count) % CLASSES, (np.arange(count) < count * VALIDATION).astype(np.uint8)
    pixels, index = folder / "pixels", folder / "index.npz"
    height, width = input.size
    with PackedWriter(pixels) as writer:
        writer.extend(random.integers(0, 256, (count, height, width, 3), dtype=np.uint8))
        writer.finish(index, np.arange(count), label_N, split_N)
    document = {
        "classes": [str(k) for k in range(CLASSES)],
        "image": {"height": height, "width": width, "channels": 3},
        "mean": input.mean,
        "std": input.std,
    }
    return Domain.open(DatasetSpec.load(document), pixels, index)


def source(folder: Path, spec: NetworkSpec = NETWORK, input: InputSpec = INPUT) -> tuple[Source, nn.Module]:
    torch.manual_seed(0)
    network = build.build(spec, input)
    save_file(network.state_dict(), folder / "weights.safetensors")
    device.place(network, torch.device("cpu"))
    return Source(spec, input, None, None, folder / "weights.safetensors"), network.eval()


def bare(network: nn.Module, target: Domain, input: InputSpec = INPUT, batch: int = BATCH) -> float:
    """Seconds for one forward pass over all images: normalise, run; nothing else."""
    pixels_NHWC = torch.from_numpy(target.images.fitted(np.arange(len(target.images)), input))
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (input.mean, input.std))
    began = time.perf_counter()
    with torch.inference_mode():
        for part_BHWC in pixels_NHWC.split(batch):
            x_BCHW = part_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
            network(x_BCHW.div_(255).sub_(mean_C11).div_(std_C11))
    return time.perf_counter() - began


def probe(origin: Source, target: Domain, epochs: int, cache: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Recorder(), Path(folder), cache=Cache(cache, 2**30))
        began = time.perf_counter()
        with device.reproducible(run.device, run.seed):
            linear_probe.run(Task(run, target, origin), LinearProbe(epochs=epochs))
        return time.perf_counter() - began


def measure(count: int, epochs: int, rounds: int) -> list[ledger.Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = domain(folder, count)
        origin, network = source(folder)
        bare(network, target)
        found = []
        for i in range(rounds):
            bare_s = bare(network, target)
            cold, warm = (probe(origin, target, epochs, folder / f"cache{i}") for _ in range(2))
            found.append((bare_s, cold, warm, cold / (1.2 * bare_s + 1)))
    pass_s, cold_s, warm_s, share = (list(column) for column in zip(*found, strict=True))
    what = f"linear probe, {epochs} epochs, ResNet-18 at 32×32, {count:,} images"
    return [
        ledger.measured(f"{what}, over 1.2 × a bare forward pass + 1 s", share, limit=("≤", 1)),
        ledger.measured("the bare forward pass", pass_s, unit="s"),
        ledger.measured("the probe", cold_s, unit="s"),
        ledger.measured("the probe with a full feature cache", warm_s, unit="s", limit=("≤", 2)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device.keep_memory()
    rows = measure(options.images, options.epochs, options.rounds)
    print(json.dumps(rows, indent=2, ensure_ascii=False))
    command = f"python benchmarks/probe.py --images {options.images} --epochs {options.epochs}"
    ledger.write("probe", command, rows, [f"{torch.get_num_threads()} threads."])


if __name__ == "__main__":
    main()
