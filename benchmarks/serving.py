"""Prediction over HTTP against the bare engine and against LitServe: ResNet-18, PNG images, one process each.

    python benchmarks/serving.py [--rounds 5] [--seconds 4] [--no-peers]

The service is the real one: API and worker as processes, an uploaded checkpoint, keys on.  Bare is decode + ONNX
Runtime on the same graph, one thread, in batches of 32.  All are measured in turn, round by round; the load generator
shares the cores with whichever server runs, so what is compared with bare is images per CPU-second of the server.
LitServe gets each image as its documentation has it (JSON, base64), batches of 32, the same number of threads.
"""

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import onnxruntime
import psutil
from PIL import Image

import ledger
from app.contract.inputs import InputSpec
from app.imaging import images
from regraft import Client
from regraft.processes import Server, free_port

HERE = Path(__file__).parent
PEERS = HERE.parent / ".benchmarks" / "peers" / "serving"
CLIENTS, BATCH, FILES = 32, 32, 64
TOGETHER = 16  # images of a request that has many
FLOOD = 4096  # connections
THREADS = os.cpu_count() or 1  # of LitServe's network
NORM = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
NOTE = (
    "ResNet-18 of 10 classes. LitServe: one worker process, batches of up to 32 within 10 ms, images as base64 in "
    "JSON, as its documentation has them. The load generator runs on the same cores. At 4 × the peak, requests "
    "come at a set rate, whether or not earlier ones were answered; single images at 32×32 are then some 10,000 a "
    "second."
)


class Bare:
    """Decode and forward without a server: what no server can beat."""

    def __init__(self, graph: Path, size: int, encoded: list[bytes]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._spec = InputSpec(size=(size, size), channels=3, **NORM)
        self._encoded = encoded
        self.batch(BATCH)

    def batch(self, count: int) -> float:
        """Seconds of one batch."""
        began = time.perf_counter()
        pixels = [images.fit(images.decode(data), self._spec) for data in self._encoded[:count]]
        self._session.run(["probabilities"], {"image": np.stack(pixels)})
        return time.perf_counter() - began

    def per_cpu_s(self, seconds: float) -> float:
        began, until, done = time.process_time(), time.perf_counter() + seconds, 0
        while time.perf_counter() < until:
            self.batch(BATCH)
            done += BATCH
        return done / (time.process_time() - began)

    def median_ms(self, count: int, seconds: float) -> float:
        until, took = time.perf_counter() + seconds, []
        while time.perf_counter() < until:
            took.append(self.batch(count))
        return statistics.median(took) * 1e3


class Target:
    """A server under load: its processes sleep while others are measured."""

    def __init__(
        self, process: psutil.Process, port: int, path: str, headers: dict[str, str], bodies: list[Path]
    ) -> None:
        self.process = process
        self._spec = {"pid": process.pid, "host": "127.0.0.1", "port": port, "path": path, "headers": headers}
        self._spec |= {"bodies": [str(body) for body in bodies]}

    def with_bodies(self, bodies: list[Path], kind: str) -> Self:
        """The same server and path."""
        headers = self._spec["headers"] | {"Content-Type": kind}
        return type(self)(self.process, self._spec["port"], self._spec["path"], headers, bodies)

    def measure(self, clients: int, seconds: float, rate: float | None = None) -> dict[str, Any]:
        spec = self._spec | {"clients": clients, "seconds": seconds, "warm_s": min(1.0, seconds / 2), "rate": rate}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file, awake(self.process):
            json.dump(spec, file)
            file.flush()
            done = subprocess.run([sys.executable, HERE / "load.py", file.name], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        found = json.loads(done.stdout)
        return found | {"per_cpu_s": found["good_per_s"] * seconds / found["cpu_s"]}


@contextmanager
def awake(process: psutil.Process) -> Iterator[None]:
    for one in (process, *process.children(recursive=True)):
        one.resume()
    yield
    for one in (*process.children(recursive=True), process):
        one.suspend()


def files(folder: Path, size: int) -> list[Path]:
    """Photograph-like PNGs: smooth shapes under some noise."""
    random = np.random.default_rng(0)
    made = []
    for k in range(FILES):
        coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), np.int16)
        pixels = np.clip(smooth + random.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
        made.append(folder / f"{size}-{k}.png")
        Image.fromarray(pixels).save(made[-1])
    return made


def as_json(paths: list[Path]) -> list[Path]:
    made = []
    for path in paths:
        made.append(path.with_suffix(".json"))
        made[-1].write_text(json.dumps({"image": base64.b64encode(path.read_bytes()).decode()}))
    return made


@dataclass(frozen=True)
class Served:
    """A checkpoint at one image size: as the service serves it, and bare."""

    images: list[Path]
    graph: Path
    target: Target
    bare: Bare


class House(ExitStack):
    """The service on this machine, with a ResNet-18 of the given weights."""

    def __init__(self, folder: Path, weights: Path) -> None:
        super().__init__()
        self._folder = folder
        log = self.enter_context((folder / "server.log").open("wb"))
        self._server = self.enter_context(Server(folder / "home", port=0, log=log))
        self._key = self._server.key_file.read_text().strip()
        self._client = self.enter_context(Client(self._server.url, key=self._key))
        self._file = self._client.files.upload(weights).id
        listening = psutil.net_connections("tcp")
        [pid] = {one.pid for one in listening if one.status == "LISTEN" and one.laddr.port == self._server.port}
        self._api = psutil.Process(pid)
        self.callback(self._api.resume)

    def served(self, size: int) -> Served:
        self._api.resume()
        made = self._client.checkpoints.create(
            name=f"r18-{size}",
            file=self._file,
            network={"name": "torchvision/resnet18", "num_classes": 10},
            input={"size": [size, size], "channels": 3, **NORM},
        )
        path = f"/v1/checkpoints/{self._client.checkpoints.wait(made.id, timeout_s=120).id}"
        auth = {"Authorization": f"Bearer {self._key}"}
        graph = self._folder / f"{size}.onnx"
        graph.write_bytes(
            httpx.get(f"{self._server.url}{path}/weights", params={"format": "onnx"}, headers=auth).content
        )
        paths = files(self._folder, size)
        headers = auth | {"Content-Type": "image/png"}
        target = Target(self._api, self._server.port, f"{path}/predictions", headers, paths)
        return Served(paths, graph, target, Bare(graph, size, [file.read_bytes() for file in paths]))

    def together(self, one: Served) -> Target:
        """The same asked for many images at a time."""
        bodies = []
        for start in range(0, FILES, TOGETHER):
            encoded = [base64.b64encode(path.read_bytes()).decode() for path in one.images[start : start + TOGETHER]]
            bodies.append(self._folder / f"together-{start}.json")
            bodies[-1].write_text(json.dumps({"images": encoded}))
        return one.target.with_bodies(bodies, "application/json")

    def memory_mib(self) -> float:
        return float(self._api.memory_info().rss / 2**20)


@contextmanager
def litserve(kind: str, file: Path, bodies: list[Path]) -> Iterator[Target]:
    port = free_port("127.0.0.1")
    command = [PEERS / "bin/python", HERE / "peers/litserve_server.py", kind, file, str(port), str(THREADS)]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 90
        while not answers(f"http://127.0.0.1:{port}/predict", bodies[0]):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"LitServe did not start: {process.stderr.read().decode()[-2000:]}")
            time.sleep(0.3)
        target = Target(psutil.Process(process.pid), port, "/predict", {"Content-Type": "application/json"}, bodies)
        with awake(target.process):
            pass
        yield target
    finally:
        for child in (*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)):
            child.kill()
        process.wait()


def answers(url: str, body: Path) -> bool:
    try:
        return httpx.post(url, content=body.read_bytes(), headers={"Content-Type": "application/json"}).is_success
    except httpx.TransportError:
        return False


def install_peers() -> None:
    """LitServe in an environment of its own, over the packages of ours."""
    if not (PEERS / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        [site] = (PEERS / "lib").glob("python*/site-packages")
        (site / "base.pth").write_text(str(Path(np.__file__).parent.parent))
        subprocess.run([PEERS / "bin/python", "-m", "pip", "install", "--quiet", "litserve"], check=True)


def save_weights(path: Path) -> None:
    script = (
        "import sys, torch, torchvision; torch.manual_seed(0); "
        "torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", script, path], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        weights = folder / "resnet18.pt"
        save_weights(weights)
        house = stack.enter_context(House(folder, weights))
        small = house.served(32)
        small.target.measure(CLIENTS, args.seconds)
        memory_mib = house.memory_mib()
        large = house.served(224)
        peers: dict[str, Target] = {}
        if not args.no_peers:
            install_peers()
            for kind, file in (("torch", weights), ("onnx", small.graph)):
                peers[kind] = stack.enter_context(litserve(kind, file, as_json(small.images)))
        rounds = [one_round(small, large, peers, args.seconds) for _ in range(args.rounds)]
        overloads = {
            size: [overload(served, args.seconds) for _ in range(args.rounds)]
            for size, served in (
                ("224×224", large.target),
                (f"32×32, {TOGETHER} images a request", house.together(small)),
                ("32×32", small.target),
            )
        }
    rows = [
        *figures(rounds),
        ledger.measured("memory of the API with the model at 32×32, MiB", [memory_mib], limit=("≤", 400)),
    ]
    for size, found in overloads.items():
        rows += overload_figures(size, found)
    ledger.write("serving", "python benchmarks/serving.py", rows, [NOTE])


def one_round(small: Served, large: Served, peers: dict[str, Target], seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bare": small.bare.per_cpu_s(seconds),
        "bare_batch_ms": small.bare.median_ms(BATCH, 1),
        "bare_one_ms": small.bare.median_ms(1, 1),
        "ours": small.target.measure(CLIENTS, seconds),
        "ours_one": small.target.measure(1, seconds / 2),
        "bare_224": large.bare.per_cpu_s(seconds),
        "ours_224": large.target.measure(CLIENTS, 2 * seconds),
    }
    found |= {f"litserve_{kind}": peer.measure(CLIENTS, seconds) for kind, peer in peers.items()}
    print(json.dumps(found), file=sys.stderr)
    return found


def overload(target: Target, seconds: float) -> dict[str, Any]:
    peak = target.measure(CLIENTS, seconds)
    flood = target.measure(FLOOD, 2 * seconds, rate=4 * peak["good_per_s"])
    print(json.dumps({"peak": peak, "flood": flood}), file=sys.stderr)
    return {"peak": peak, "flood": flood}


def figures(rounds: list[dict[str, Any]]) -> list[ledger.Row]:
    def each(give: Callable[[dict[str, Any]], float]) -> list[float]:
        return [give(one) for one in rounds]

    rows = [
        ledger.measured(
            f"32×32, {CLIENTS} clients: images per CPU-second, share of bare",
            each(lambda one: one["ours"]["per_cpu_s"] / one["bare"]),
            limit=("≥", 0.75),
        ),
        ledger.measured(f"32×32, {CLIENTS} clients: images a second", each(lambda one: one["ours"]["good_per_s"])),
        ledger.measured(
            f"32×32, {CLIENTS} clients: p99 over the time of a bare batch of {BATCH}",
            each(lambda one: one["ours"]["p99_ms"] / one["bare_batch_ms"]),
            limit=("≤", 3),
        ),
        ledger.measured(
            "32×32, one client: p50 over 1.3 × a bare batch of one + 1 ms",
            each(lambda one: one["ours_one"]["p50_ms"] / (1.3 * one["bare_one_ms"] + 1)),
            limit=("≤", 1),
        ),
        ledger.measured(
            f"224×224, {CLIENTS} clients: images per CPU-second, share of bare",
            each(lambda one: one["ours_224"]["per_cpu_s"] / one["bare_224"]),
            limit=("≥", 0.9),
        ),
    ]
    for kind, name, least in (("torch", "LitServe with torch", 2.5), ("onnx", "LitServe with ONNX Runtime", 1.8)):
        if f"litserve_{kind}" in rounds[0]:
            theirs = each(lambda one, kind=kind: one[f"litserve_{kind}"]["good_per_s"])
            ratios = [one["ours"]["good_per_s"] / their for one, their in zip(rounds, theirs, strict=True)]
            rows.append(
                ledger.measured(f"32×32, {CLIENTS} clients: images a second over {name}", ratios, limit=("≥", least))
            )
    return rows


def overload_figures(size: str, found: list[dict[str, Any]]) -> list[ledger.Row]:
    asked = [sum(one["flood"]["answers"].values()) + one["flood"]["unsent"] for one in found]
    told = [sum(one["flood"]["answers"].values()) for one in found]
    return [
        ledger.measured(
            f"{size}, asked for 4 × the peak: good answers a second, share of the peak",
            [one["flood"]["good_per_s"] / one["peak"]["good_per_s"] for one in found],
            limit=("≥", 0.9),
        ),
        ledger.measured(
            f"{size}, the same: p99 of a refusal, ms",
            [one["flood"]["refused_p99_ms"] or 0.0 for one in found],
            limit=("≤", 100),
        ),
        ledger.measured(
            f"{size}, the same: answers that are neither 200 nor 503",
            [
                float(all_ - one["flood"]["answers"].get("200", 0) - one["flood"]["answers"].get("503", 0))
                for one, all_ in zip(found, told, strict=True)
            ],
            limit=("≤", 0),
        ),
        ledger.measured(
            f"{size}, the same: requests that were really sent, share",
            [t / a for t, a in zip(told, asked, strict=True)],
        ),
    ]


if __name__ == "__main__":
    main()
