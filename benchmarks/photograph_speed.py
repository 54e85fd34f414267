"""Photographs: features and fine-tuning at 224 pixels, against bare loops and against peers.

    python benchmarks/photograph_speed.py --images PACS/photo [--parts features training] [--rounds 5]

`--images` has JPEG files in a folder a class (MachineLearning2020/Homework3-PACS has such).

features  the linear probe of EfficientNet-Lite0, one epoch on an empty feature cache; and a bare forward pass
training  epochs of EfficientNet-Lite0: the engine and the bare loop, from pixels in memory; timm and Lightning, from
          the JPEG files; each in a process of its own, in turn

How photographs are ingested `ingestion.py` measures.  Leaves its figures where `report.py` finds them.
"""

import argparse
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import ledger
import probe
import training
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from contest import photographs
from worker.runtime import device

DATA = training.HOME / "photographs"
SIDE = 224
INPUT = InputSpec(size=(SIDE, SIDE), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
NETWORK = NetworkSpec(name="timm/tf_efficientnet_lite0", num_classes=1000)
FEATURES, FORWARD = 128, 32  # images, and of these a batch of the bare pass
STEPS, BATCH = 8, 16  # of an epoch: `peers/common.py` has the batch


def decoded(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes()


def features(images: Path, rounds: int) -> Iterator[ledger.Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = probe.domain(folder, FEATURES, INPUT)
        origin, network = probe.source(folder, NETWORK, INPUT)
        probe.bare(network, target, INPUT, FORWARD)
        shares = []
        for i in range(rounds):
            bare = probe.bare(network, target, INPUT, FORWARD)
            shares.append(bare / probe.probe(origin, target, 1, folder / f"cache{i}"))
    what = f"features of Lite0 at {SIDE} px, with all of a probe of one epoch, against a bare forward pass"
    yield ledger.measured(f"{what}, {FEATURES} images", shares, limit=("≥", 0.9))


def fine_tuning(images: Path, rounds: int) -> Iterator[ledger.Row]:
    store(images, DATA)
    python = training.installed()
    others = {"timm": (python, "with_timm", ()), "Lightning": (python, "with_lightning", ())}
    found, missing = training.in_turn(training.OURS | training.BARE | others, rounds, "lite0", STEPS, "--folder", DATA)
    for name in ("bare", *others):
        what = f"epoch of Lite0 at {SIDE} px against {'the bare loop' if name == 'bare' else f'{name} on JPEG files'}"
        if name in missing:
            yield ledger.row(what, "not run", missing[name])
            continue
        for measure, clock in (("cpu_s", training.CPU), ("wall_s", training.WALL)):
            bound = 0.97 if name == "bare" else 1.0
            limit = ("≥", bound) if measure == "cpu_s" else None
            values = training.ratios(found[name], found["ours"], measure)
            yield ledger.measured(f"{what}, {clock}", values, limit=limit)


def store(images: Path, folder: Path, count: int = STEPS * BATCH) -> None:
    """`count` images, of each class about as many: as files, and as pixels for those who have them in memory."""
    found = photographs.classes(images)
    chosen = photographs.some(found, math.ceil(count / len(found)))
    pairs = [(path, label) for label, paths in enumerate(chosen.values()) for path in paths][:count]
    shutil.rmtree(folder / "train", ignore_errors=True)
    for path, label in pairs:
        copy = folder / "train" / str(label) / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    pixels_NHWC = np.frombuffer(b"".join(decoded(path) for path, _ in pairs), np.uint8).reshape(-1, SIDE, SIDE, 3)
    np.savez(folder / "train.npz", pixels_NHWC=pixels_NHWC, label_N=np.array([label for _, label in pairs]))


PARTS: dict[str, Callable[[Path, int], Iterator[ledger.Row]]] = {
    "features": features,
    "training": fine_tuning,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device.keep_memory()
    for part in options.parts:
        rows = []
        for row in PARTS[part](options.images, options.rounds):
            print(row, flush=True)
            rows.append(row)
        command = f"python benchmarks/photograph_speed.py --images {options.images} --parts {part}"
        ledger.write(f"photographs: {part}", command, rows)


if __name__ == "__main__":
    main()
