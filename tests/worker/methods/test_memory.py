"""A job whose batches memory does not hold: it goes on in parts, says so, and resumes exactly."""

import multiprocessing
import resource
from pathlib import Path
from typing import Any

import torch

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runtime.contract import Note, Snapshot

BATCH, SPARE = 1024, 160 * 2**20
LAYERS: list[dict[str, Any]] = [
    {"name": "flatten", "type": "Flatten"},
    {"name": "wide", "type": "Linear", "out_features": 20_000},
    {"name": "relu", "type": "ReLU"},
    {"name": "drop", "type": "Dropout", "p": 0.2},
    {"name": "head", "type": "Linear", "out_features": 10},
]
METHOD = {
    "name": "train",
    "network": {"name": "layers", "num_classes": 10, "options": {"layers": LAYERS}},
    "input": tasks.INPUT,
    "epochs": 2,
    "optimizer": "sgd",
    "batch_size": BATCH,
}


def case(folder: Path) -> Setting:
    return Setting(METHOD, None, tasks.dataset(folder / "data", 10, per_class=416))


def _limited(folder: Path, answer: Any) -> None:
    """In a process of its own that may take little more memory than it has."""
    torch.set_num_threads(1)
    tasks.run(Setting(METHOD | {"batch_size": 8, "epochs": 1}, None, case(folder).target), folder / "warm")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    limit = int(status["VmData"].split()[0]) * 1024 + SPARE
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    outcome = tasks.run(case(folder), folder / "limited")
    splits = [note.data["micro_batch_size"] for note in outcome.recorder.of(Note) if note.type == "batch_split"]
    snapshots = [snapshot.path for snapshot in outcome.recorder.of(Snapshot)]
    answer.send((splits, snapshots, outcome.document["transfer"]["micro_batch_size"], outcome.weights_file))


def test_a_job_under_too_little_memory_ends_well_and_resumes_exactly(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_limited, args=(tmp_path, theirs))
    child.start()
    theirs.close()
    splits, snapshots, told, weights = ours.recv()
    child.join()
    assert splits
    assert told == splits[-1] < BATCH
    assert snapshots  # at once after the split, so that a resume does not run out of memory again
    torch.set_num_threads(1)
    resumed = tasks.run(case(tmp_path), tmp_path / "resumed", snapshot=snapshots[-1])
    assert resumed.document["transfer"]["micro_batch_size"] == told
    assert resumed.weights_file.read_bytes() == weights.read_bytes()
