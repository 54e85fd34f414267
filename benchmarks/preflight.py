"""Preflights beside the truth: what nine jobs are said to take, and what they then take.

    python benchmarks/preflight.py

Each job is measured (`POST /v1/jobs/preflight?measure=true`), then run, one after another, over HTTP on a service of
this run's own.  The images are drawn: what they show costs nothing.  Memory is the greatest resident set of the
process that runs the job, beyond what it was born with; seconds are those between the job's start and its end.  Where
other work shares the machine, the forecast and the truth meet it at different times: so they are compared by the
processor's seconds, too, of which the forecast's are its seconds times the share that its process had.  Prints the
table in Markdown.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from regraft import Client
from regraft.processes import Server

MIB = 2**20
LIMITS = {"seconds": 0.25, "processor": 0.25, "memory": 0.15}
WAIT_S = 3600
SIZES = {"small": (1500, 32), "large": (300, 64)}  # images, pixels a side
CNN3 = {"name": "cnn3", "num_classes": 10}
RESNET = {"name": "torchvision/resnet18", "num_classes": 10}
LITE = {"name": "timm/tf_efficientnet_lite0", "num_classes": 10}
VIT = {"name": "timm/vit_tiny_patch16_224", "num_classes": 10, "options": {"img_size": 64}}


class Watch:
    """The greatest resident set of a job's process, beyond the least that it was seen with, the seconds of the
    processor that it had, and those that it lived; read all the time."""

    def __init__(self) -> None:
        self.bytes, self.processor_s, self.lived_s = 0, 0.0, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()

    def _watch(self) -> None:
        forkserver, least, born = None, {}, {}
        while not self._ended.wait(0.005):
            with suppress(psutil.NoSuchProcess, OSError, KeyError):  # it has ended
                forkserver = forkserver or _forkserver()
                for child in [] if forkserver is None else forkserver.children():
                    now, most = _resident(child.pid)
                    least[child.pid] = min(least.get(child.pid, now), now)
                    self.bytes = max(self.bytes, most - least[child.pid])
                    times = child.cpu_times()
                    if times.user + times.system > self.processor_s:
                        self.processor_s = times.user + times.system
                        self.lived_s = time.monotonic() - born.setdefault(child.pid, time.monotonic())


def _forkserver() -> psutil.Process | None:
    """The fork-server of the worker, not the process that tells it what semaphores there are."""
    below = psutil.Process().children(recursive=True)
    return next((one for one in below if any("forkserver" in part for part in one.cmdline())), None)


def _resident(pid: int) -> tuple[int, int]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    now, most = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def dataset(client: Client, folder: Path, name: str) -> str:
    count, side = SIZES[name]
    random = np.random.default_rng(0)
    path = folder / f"{name}.npz"
    images = random.integers(0, 256, (count, side, side, 3), np.uint8)
    np.savez(path, images=images, labels=random.integers(0, 10, count))
    return client.datasets.wait(client.datasets.create(path, name=name).id, timeout_s=WAIT_S).id


def source(client: Client, dataset: str, network: dict[str, Any]) -> str:
    """A model of that network, hardly trained."""
    method = {"name": "train", "network": network, "epochs": 1, "batch_size": 32, "augmentation": "none"}
    model = client.jobs.wait(client.jobs.create(method=method, dataset=dataset).id, timeout_s=WAIT_S).model
    assert model is not None
    return model


def jobs(client: Client, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    small, large = dataset(client, folder, "small"), dataset(client, folder, "large")
    cnn3, resnet, lite = source(client, small, CNN3), source(client, large, RESNET), source(client, large, LITE)
    distilled = {"name": "train", "network": CNN3, "epochs": 4}
    distilled["terms"] = [{"name": "distillation", "teacher": cnn3}]
    yield "`train`, cnn3, 32 px", {"dataset": small, "method": {"name": "train", "network": CNN3, "epochs": 10}}
    yield "`fine_tune`, ResNet-18, 64 px", _from(resnet, large, name="fine_tune", epochs=5)
    yield "`fine_tune`, EfficientNet-Lite0, 64 px", _from(lite, large, name="fine_tune", epochs=4, batch_size=32)
    yield "`train`, ViT-Tiny, 64 px", {"dataset": large, "method": {"name": "train", "network": VIT, "epochs": 8}}
    yield "`linear_probe`, EfficientNet-Lite0, 64 px", _from(lite, large, name="linear_probe")
    yield "`lp_ft`, cnn3, 32 px", _from(cnn3, small, name="lp_ft", epochs=6, learning_rate=1e-5)
    yield "`shot`, cnn3, 32 px", _from(cnn3, small, name="shot", epochs=6)
    yield "`train` with `distillation`, cnn3, 32 px", {"dataset": small, "method": distilled}
    yield "`svm`, ResNet-18, 64 px", _from(resnet, large, name="svm")


def _from(checkpoint: str, dataset: str, **method: Any) -> dict[str, Any]:
    return {"checkpoint": checkpoint, "dataset": dataset, "method": method}


def compare(client: Client, request: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """(forecast, truth) of seconds and of memory."""
    rehearsal, run = Watch(), Watch()
    with rehearsal.watching():
        forecast = client.preflights.wait(client.preflights.create(**request).id, timeout_s=WAIT_S)
    with run.watching():
        job = client.jobs.wait(client.jobs.create(**request).id, timeout_s=WAIT_S)
    seconds = forecast.seconds.estimate
    return {
        "seconds": (seconds, job.seconds),
        "processor": (seconds * rehearsal.processor_s / rehearsal.lived_s, run.processor_s),
        "memory": (forecast.memory_bytes / MIB, run.bytes / MIB),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    columns = "forecast | Took | Off by |"
    print(f"| Job | Seconds, {columns} Of the processor, {columns} MiB, {columns}", flush=True)
    print(f"|---|{9 * '---:|'}", flush=True)
    off = {name: [] for name in LIMITS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            (folder / "log").open("ab") as log,
            Server(folder / "home", port=0, log=log) as server,
            Client(server.url, key=server.key_file.read_text().strip()) as client,
        ):
            for what, request in jobs(client, folder):
                found = compare(client, request)
                cells = []
                for kind, digits in (("seconds", 1), ("processor", 1), ("memory", 0)):
                    forecast, truth = found[kind]
                    off[kind].append(forecast / truth - 1)
                    cells += [f"{forecast:.{digits}f}", f"{truth:.{digits}f}", f"{100 * off[kind][-1]:+.0f} %"]
                print(f"| {what} | {' | '.join(cells)} |", flush=True)
    held = {kind: sum(abs(one) <= limit for one in off[kind]) for kind, limit in LIMITS.items()}
    print(f"Within the limits of {len(off['seconds'])}: {held}", file=sys.stderr)


if __name__ == "__main__":
    main()
