"""Prediction over HTTP against the bare engine and against LitServe: ResNet-18, PNG images, one process each.

    python benchmarks/serving.py [--rounds 5] [--seconds 4] [--no-peers]

The service is the real one: API and worker as processes, an uploaded checkpoint, keys on.  Bare is decode + ONNX Runtime
on the same graph, one thread, in batches of 32.  All are measured in turn, round by round; the load generator shares
the machine's cores with whichever server runs, so what is compared with bare is images per CPU-second of the server.
LitServe gets each image as its documentation has it (JSON, base64), batches of 32, the same number of threads.
"""

import argparse
import base64
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import psutil
from PIL import Image

from app.imaging import images
from app.methods.inputs import InputSpec
from regraft import Client
from regraft.processes import Server, free_port

HERE = Path(__file__).parent
PEERS = HERE.parent / ".benchmarks" / "peers" / "serving"
CLIENTS, BATCH, FILES = 32, 32, 64
NORM = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
LIMITS = {"queue": 64}


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

    def __init__(self, process: psutil.Process, port: int, path: str, headers: dict[str, str], bodies: list[Path]):
        self.process = process
        self._spec = {"pid": process.pid, "host": "127.0.0.1", "port": port, "path": path, "headers": headers}
        self._spec |= {"bodies": [str(body) for body in bodies]}

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


@contextmanager
def ours(folder: Path, weights: Path) -> Iterator[tuple[Server, Client, Callable[[int], str]]]:
    """A served ResNet-18 checkpoint for each size."""
    environment = {"REGRAFT_POLL_S": "0.05"}
    os.environ |= environment
    with (folder / "server.log").open("wb") as log, Server(folder / "home", port=0, log=log) as server:
        client = Client(server.url, key=server.key_file.read_text().strip())
        file = client.files.upload(weights)

        def checkpoint(size: int) -> str:
            made = client.checkpoints.create(
                name=f"r18-{size}",
                file=file.id,
                network={"name": "torchvision/resnet18", "num_classes": 10},
                input={"size": [size, size], "channels": 3, **NORM},
            )
            return client.checkpoints.wait(made.id, timeout_s=120).id

        yield server, client, checkpoint
        for half in server._halves.values():
            half.send_signal(signal.SIGCONT)


@contextmanager
def litserve(kind: str, file: Path, bodies: list[Path], threads: int) -> Iterator[Target]:
    port = free_port("127.0.0.1")
    command = [PEERS / "bin/python", HERE / "peers/litserve_server.py", kind, file, str(port), str(threads)]
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


def median(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f} {max(values):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    if not args.no_peers:
        install_peers()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        save_weights(folder / "resnet18.pt")
        server, client, checkpoint = stack.enter_context(ours(folder, folder / "resnet18.pt"))
        rounds = measure(args, folder, server, client, checkpoint, stack)
    print(json.dumps(rounds, indent=1))


def measure(args, folder, server, client, checkpoint, stack) -> list[dict[str, Any]]:
    threads = os.cpu_count() or 1
    paths = files(folder, 32)
    id_ = checkpoint(32)
    graph, key = folder / "32.onnx", server.key_file.read_text().strip()
    graph.write_bytes(
        httpx.get(
            f"{server.url}/v1/checkpoints/{id_}/weights",
            params={"format": "onnx"},
            headers={"Authorization": f"Bearer {key}"},
        ).content
    )
    api = psutil.Process(server._halves["api"].pid)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/png"}
    target = Target(api, server.port, f"/v1/checkpoints/{id_}/predictions", headers, paths)
    bare = Bare(graph, 32, [path.read_bytes() for path in paths])
    peers = {}
    if not args.no_peers:
        for kind, file in (("torch", folder / "resnet18.pt"), ("onnx", graph)):
            peers[kind] = stack.enter_context(litserve(kind, file, as_json(paths), threads))
    found = []
    for _ in range(args.rounds):
        row = {
            "bare": bare.per_cpu_s(args.seconds),
            "bare_batch_ms": bare.median_ms(BATCH, 1),
            "bare_one_ms": bare.median_ms(1, 1),
        }
        row["ours"] = target.measure(CLIENTS, args.seconds)
        row["ours_one"] = target.measure(1, args.seconds / 2)
        for kind, peer in peers.items():
            row[f"litserve_{kind}"] = peer.measure(CLIENTS, args.seconds)
        found.append(row)
        print(json.dumps(row), file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
