"""Training against the bare loop and against peers, on one thread each.

    python benchmarks/training.py [--quick] [--parts overhead data peers script]

overhead  the engine and the bare in-memory loop (`peers/bare.py`), on ResNet-18 at 32×32, `cnn3` at 28×28 and an almost
          empty network; Lightning on the last
data      the data path alone: crop, mirror, normalise
peers     whole epochs of `cnn3` on Fashion-MNIST (Debian's dataset-fashion-mnist): torchvision's usual recipe,
          Lightning, fastai, timm, Lightly Train; and their accuracy after these epochs, over seeds
script    time until the accuracy that one pass of one image a step reaches

Every peer trains in a process of its own; their epochs are run in turn, after one each that does not count.  The peers
that are no part of our environment are installed beside it under .benchmarks/peers, on its PyTorch.  Leaves its figures
where `report.py` finds them.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image

import ledger

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".benchmarks" / "peers"
ENVIRONMENT, DATA = HOME / "training", HOME / "fashion"
SCRIPTS = Path(__file__).parent / "peers"
FASHION = Path("/usr/share/datasets/fashion-mnist")
INSTALLED = ("lightning", "fastai", "lightly-train")
SHARED = ("torch", "torchvision", "numpy", "pillow", "timm", "psutil")  # stay as they are here
BATCH, STEPS, TEST = 64, 60, 5_000
PARTS = ("overhead", "data", "peers", "script")
CPU, WALL = "CPU time", "wall clock"


class Epoch(NamedTuple):
    wall_s: float
    cpu_s: float


class Peer:
    """A script of peers/ in a process of its own, which trains an epoch whenever it is asked to."""

    def __init__(self, name: str, python: Path, script: str, *options: object) -> None:
        self._log = HOME / "logs" / f"{name}.txt"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(python), str(SCRIPTS / f"{script}.py"), *map(str, options)],
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def answer(self) -> dict[str, Any]:
        """Raises: RuntimeError, it has ended; with the last line that it left."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._log.read_text(encoding="utf-8").strip().splitlines()
            raise RuntimeError(said[-1] if said else "ended without a word")
        found: dict[str, Any] = json.loads(line)
        return found

    def epoch(self) -> Epoch:
        """It has said that it is ready."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return Epoch(**self.answer())


class Course(NamedTuple):
    """What came of a peer: its epochs but the first, and its accuracy on the test images after the last."""

    epochs: list[Epoch]
    accuracy: float | None

    def median(self, measure: str) -> float:
        return statistics.median(getattr(epoch, measure) for epoch in self.epochs)


def in_turn(
    peers: Mapping[str, tuple[Path, str, Sequence[object]]], rounds: int, task: str, steps: int, *common: object
) -> tuple[dict[str, Course], dict[str, str]]:
    """Courses by name, and why those that are not there could not be run."""
    running: dict[str, Peer] = {}
    missing: dict[str, str] = {}
    epochs: dict[str, list[Epoch]] = {name: [] for name in peers}
    options = ("--task", task, "--steps", steps, "--epochs", rounds + 1, "--folder", DATA, *common)
    with ExitStack() as stack:
        for name, (python, script, more) in peers.items():
            running[name] = stack.enter_context(Peer(name, python, script, *options, *more))
            with noted(name, running, missing, python):
                running[name].answer()
        for turn in range(rounds + 1):
            for name in list(running) if turn % 2 else list(reversed(running)):
                with noted(name, running, missing, peers[name][0]):
                    epochs[name].append(running[name].epoch())
                    if turn < rounds:
                        running[name].answer()
        courses = {name: Course(epochs[name][1:], peer.answer()["accuracy"]) for name, peer in running.items()}
    return courses, missing


@contextmanager
def noted(name: str, running: dict[str, Peer], missing: dict[str, str], python: Path) -> Iterator[None]:
    """A peer of another environment that fails is left out, and why is kept."""
    try:
        yield
    except RuntimeError as error:
        if python == HERE:
            raise
        del running[name]
        missing[name] = str(error)


def ratios(other: Course, ours: Course, measure: str) -> list[float]:
    """How many times as fast as the other we are, round by round."""
    pairs = zip(other.epochs, ours.epochs, strict=True)
    return [getattr(theirs, measure) / getattr(our, measure) for theirs, our in pairs]


HERE = Path(sys.executable)
OURS = {"ours": (HERE, "with_regraft", ())}
RESIZED = {"ours, resized crop": (HERE, "with_regraft", ("--resized",))}
BARE = {"bare": (HERE, "bare", ())}


def overhead(rounds: int, quick: bool) -> Iterator[ledger.Row]:
    for task, steps, what in (("resnet18", 8 if quick else 16, "ResNet-18 at 32×32"), ("cnn3", STEPS, "cnn3 at 28×28")):
        found, _ = in_turn(OURS | BARE, rounds, task, steps)
        for measure, name in (("cpu_s", CPU), ("wall_s", WALL)):
            values = ratios(found["bare"], found["ours"], measure)
            limit = ("≥", 0.97) if name == CPU else None  # the clock on the wall is not that exact
            yield ledger.measured(f"engine against the bare loop, {what}, {name}", values, limit=limit)
    python = installed()
    steps = STEPS * (4 if quick else 15)
    for plain in (False, True):
        peers = OURS | BARE | ({"Lightning": (python, "with_lightning", ())} if plain else {})
        found, missing = in_turn(peers, rounds, "empty", steps, *(["--plain"] if plain else []))
        images = "not augmented" if plain else "crop and mirror"
        for name in ("ours", *(["Lightning"] if plain else [])):
            what = f"ms a step above the bare loop, almost empty network, {images}: {name}, {CPU}"
            if name in missing:
                yield ledger.row(what, "not run", missing[name])
                continue
            pairs = zip(found[name].epochs, found["bare"].epochs, strict=True)
            above = [1000 * (theirs.cpu_s - bare.cpu_s) / steps for theirs, bare in pairs]
            limit = ("≤", 0.1) if name == "ours" else None
            yield ledger.measured(what, above, digits=3, unit="ms", limit=limit)


def data(rounds: int, quick: bool) -> Iterator[ledger.Row]:
    peers = {
        "ours": (HERE, "path", ("--path", "ours")),
        "0 workers": (HERE, "path", ("--path", "pil")),
        "2 workers": (HERE, "path", ("--path", "pil", "--workers", 2)),
    }
    found, _ = in_turn(peers, rounds, "cnn3", STEPS)
    for name in ("0 workers", "2 workers"):
        for measure, clock in (("wall_s", WALL), ("cpu_s", CPU)):
            what = f"data path alone against PIL and a DataLoader with {name}, 28×28, {clock}"
            yield ledger.measured(what, ratios(found[name], found["ours"], measure), digits=1, limit=("≥", 8))
    speeds = (f"{name} {STEPS * BATCH / course.median('wall_s'):,.0f}" for name, course in found.items())
    yield ledger.row("data path alone, images a second", ", ".join(speeds))


def peers(rounds: int, quick: bool) -> Iterator[ledger.Row]:
    python = installed()
    recipe = "PIL and a DataLoader"
    others = {
        recipe: (HERE, "with_pil", ()),
        f"{recipe}, 2 workers": (HERE, "with_pil", ("--workers", 2)),
        "Lightning": (python, "with_lightning", ()),
        "fastai": (python, "with_fastai", ()),
        "timm": (python, "with_timm", ()),
        "Lightly Train": (python, "with_lightly", ()),
    }
    found, missing = in_turn(OURS | RESIZED | others, rounds, "cnn3", STEPS)
    for name in others:
        if name in missing:
            yield ledger.row(f"epoch of cnn3 against {name}", "not run", missing[name])
            continue
        bound = 1.15 if name == recipe else 1.0
        for measure, clock in (("cpu_s", CPU), ("wall_s", WALL)):
            values = ratios(found[name], found[fellow(name)], measure)
            yield ledger.measured(f"epoch of cnn3 against {name}, {clock}", values, limit=("≥", bound))
    count = STEPS * BATCH
    for name, course in found.items():
        figure = f"{count / course.median('wall_s'):,.0f} / {count / course.median('cpu_s'):,.0f}"
        yield ledger.row(f"images a second / a CPU second: {name}", figure)
    every = (OURS | RESIZED | others).items()
    yield from accuracies({name: peer for name, peer in every if name in found}, found, rounds)


def fellow(name: str) -> str:
    """Ours that cuts images as that peer does."""
    return "ours, resized crop" if name in ("timm", "Lightly Train") else "ours"


def accuracies(
    peers: Mapping[str, tuple[Path, str, Sequence[object]]], first: Mapping[str, Course], rounds: int
) -> Iterator[ledger.Row]:
    """After these epochs, from as many seeds as there are rounds; the first seed is known.  Two train at a time."""

    def trained(name: str, seed: int) -> float:
        found, _ = in_turn({name: peers[name]}, rounds, "cnn3", STEPS, "--seed", seed)
        return float(found[name].accuracy or 0)

    told = {name: first[name].accuracy for name in peers}
    with ThreadPoolExecutor(2) as pool:
        runs = {name: [pool.submit(trained, name, seed) for seed in range(1, rounds)] for name in peers}
        found = {name: [float(told[name] or 0), *(run.result() for run in runs[name])] for name in peers}
    for name, values in found.items():
        yield ledger.measured(f"accuracy after {rounds + 1} epochs: {name}", [100 * v for v in values], unit="%")
    for name in (name for name in found if name not in OURS | RESIZED):
        above = [100 * (our - theirs) for our, theirs in zip(found[fellow(name)], found[name], strict=True)]
        half = 2.776 * statistics.stdev(above) / len(above) ** 0.5  # Student's t, 95 %, of five
        mean = statistics.mean(above)
        yield ledger.row(
            f"points of accuracy above {name}, mean of {len(above)} seeds",
            f"{mean:+.1f}",
            f"[{mean - half:+.1f} {mean + half:+.1f}] 95 %",
            "no less",
            mean + half >= 0,
        )


def script(rounds: int, quick: bool) -> Iterator[ledger.Row]:
    options = [str(HERE), str(SCRIPTS / "script.py"), "--folder", str(DATA), "--steps", str(25 if quick else STEPS)]
    found = []
    for seed in range(rounds):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        said = subprocess.run(
            [*options, "--seed", str(seed)], env=environment, capture_output=True, text=True, check=True
        )
        found.append(json.loads(said.stdout))
    for measure, clock in (("cpu_s", CPU), ("wall_s", WALL)):
        values = [one["script"][measure] / one["ours"][measure] for one in found]
        what = f"time to the accuracy of one pass of one image a step (PIL, SGD), cnn3, {clock}"
        yield ledger.measured(what, values, digits=1, limit=("≥", 3))
    median = {key: statistics.median(one[key]["wall_s"] for one in found) for key in ("script", "ours")}
    accuracy = statistics.median(one["script"]["accuracy"] for one in found)
    yield ledger.row(
        "the same, seconds: script / ours",
        f"{median['script']:.1f} / {median['ours']:.1f}",
        f"accuracy {accuracy:.3f}",
    )


def installed() -> Path:
    """The Python of the peers' environment, made at the first call on top of ours."""
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed"
    if done.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    Path(theirs, "regraft.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    fixed = ENVIRONMENT / "constraints.txt"
    fixed.write_text("".join(f"{name}=={version(name)}\n" for name in SHARED), encoding="utf-8")
    for package in INSTALLED:
        command = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-c",
            str(fixed),
            package,
        ]
        if subprocess.run(command, check=False).returncode:
            print(f"{package} cannot be installed beside this environment's packages", file=sys.stderr)
    done.touch()
    return python


def fashion() -> None:
    """Training images as an array and as files in a folder a class; test images, the first ones, as an array."""
    if (DATA / "val").exists():
        return
    for split, part, count in (("train", "train", STEPS * BATCH), ("test", "t10k", TEST)):
        pixels = np.frombuffer(gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes())[16:], "u1")
        label_N = np.frombuffer(gzip.decompress((FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes())[8:], "u1")
        pixels_NHWC, label_N = pixels.reshape(-1, 28, 28, 1)[:count], label_N[:count].astype(np.int64)
        DATA.mkdir(parents=True, exist_ok=True)
        np.savez(DATA / f"{split}.npz", pixels_NHWC=pixels_NHWC, label_N=label_N)
        folder, files = ("train", count) if split == "train" else ("val", 100)
        for i in range(files):
            path = DATA / folder / str(label_N[i]) / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels_NHWC[i, :, :, 0]).save(path)


def notes(part: str, rounds: int) -> list[str]:
    common = (
        f"{rounds} rounds, each an epoch by every peer in turn, after one that does not count; batches of {BATCH}, "
        "one thread each; random crop with 4 pixels of padding and mirroring. Of ratios, above 1 is: we are faster. "
        "On a machine that others use too, CPU time is the surer of the two clocks; the load is above."
    )
    recipe = (
        f"Epochs of {STEPS * BATCH:,} images; SGD with Nesterov's momentum at a constant rate, the same start. The "
        "usual recipe and Lightning make PIL images of an array in memory, as torchvision's own FashionMNIST does; "
        "fastai, timm and Lightly Train read PNG files. fastai pads and crops with its own steps; timm and Lightly "
        "Train crop a random part of at least 64 % and resize it, and are compared with ours that does the same. "
        "timm's train.py is no part of its wheel: its building blocks stand for it, as that script puts them together. "
        "Lightly Train trains with its own AdamW, warm-up and clipping (rate 1e-3), on cnn3 up to its last layer, "
        "which is Lightly's, and reads grey images as three channels. We run in channels_last, with the fused "
        "optimiser and a C library that keeps its memory; peers run as they come. Accuracies are of five seeds, of "
        "weights and of order, on 5,000 test images; differences are paired by seed, with Student's interval of 95 %."
    )
    bare = (
        "The bare loop cuts, mirrors and normalises uint8 batches from memory, in channels_last, with the fused "
        "optimiser, and its C library keeps its memory, as ours does. Lightning is fed from memory as well."
    )
    one = (
        "Plain PyTorch, one image a step through PIL's resize and to a tensor, SGD at .001 with momentum .9, one "
        f"pass over {STEPS * BATCH:,} images; ours in batches of {BATCH} at .02, looked at every 25 steps; no "
        "augmentation in either. Looking at the accuracy is not counted in either."
    )
    return {"overhead": [common, bare], "data": [common], "peers": [common, recipe], "script": [one]}[part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rounds, fewer steps; leaves no record")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    rounds = 2 if options.quick else 5
    fashion()
    for part in options.parts:
        rows = []
        for row in {"overhead": overhead, "data": data, "peers": peers, "script": script}[part](rounds, options.quick):
            print(json.dumps(row, ensure_ascii=False), flush=True)
            rows.append(row)
        if not options.quick:
            ledger.write(
                f"training: {part}", f"python benchmarks/training.py --parts {part}", rows, notes(part, rounds)
            )


if __name__ == "__main__":
    main()
