"""Small jobs for the methods, run in this process exactly as a worker's child runs them: spec in, events out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sqlalchemy import String
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import RunSpec
from app.db import tables
from app.imaging.packed import PackedWriter
from app.methods.registry import parse
from worker.export import package
from worker.export.served import Served
from worker.ingest.classes import rarest
from worker.networks import build
from worker.runs import run_job
from worker.runs.run_job import Measured
from worker.runtime import digest
from worker.runtime.contract import Interrupted, Metric, Result, Spec
from worker.runtime.recorder import Recorder

SIDE = 8
INPUT = {"size": [SIDE, SIDE], "channels": 1, "mean": [0.5], "std": [0.25], "fit": "stretch", "margin": 0}
TRANSFORMED = INPUT | {"size": [32, 32]}  # four patches
RECIPE = {
    "version": 1,
    "augmentation": [{"name": "random_crop", "padding": 1}, {"name": "trivial_augment"}, {"name": "random_erasing"}],
    "label_smoothing": 0.1,
    "mixing": {"name": "mixup"},
}
LAYERS: list[dict[str, Any]] = [
    {
        "name": "features",
        "layers": [
            {"type": "Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1},
            {"type": "BatchNorm2d"},
            {"type": "ReLU"},
            {"type": "MaxPool2d", "kernel_size": 2},
        ],
    },
    {"name": "block", "layers": [{"type": "Conv2d", "out_channels": 8, "kernel_size": 3}, {"type": "BatchNorm2d"}]},
    {"name": "flatten", "type": "Flatten"},
    {"name": "drop", "type": "Dropout", "p": 0.2},
]


def network(classes: int) -> dict[str, Any]:
    """With batch norm, whose buffers must freeze, and dropout, which draws random numbers."""
    head = {"name": "head", "type": "Linear", "out_features": classes}
    return {"name": "layers", "num_classes": classes, "options": {"layers": [*LAYERS, head]}}


@dataclass(frozen=True)
class Data:
    """A packed dataset on disk, and what a job is told of it."""

    document: dict[str, Any]
    pixels: Path
    index: Path


SPLITS = (0, 0, 0, 0, 1, 1, 2, 2)


def dataset(
    folder: Path,
    classes: int,
    per_class: int = 8,
    seed: int = 0,
    prefix: str = "",
    splits: tuple[int, ...] = SPLITS,
    *,
    multi_label: bool = False,
) -> Data:
    """Each class a pattern of its own under noise; half of every class trains, a quarter each validates and tests.

    With `multi_label` every second image shows the next class, too, and every eighth nothing but noise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    pattern_KHW = random.integers(0, 256, (classes, SIDE, SIDE))
    label_N = np.repeat(np.arange(classes), per_class)
    noise_NHW = random.integers(-60, 60, (len(label_N), SIDE, SIDE))
    images_NHW, target_NK = pattern_KHW[label_N], None
    if multi_label:
        target_NK = _several(label_N, classes)
        images_NHW = np.einsum("nk,khw->nhw", target_NK, pattern_KHW) // target_NK.sum(1).clip(min=1)[:, None, None]
        label_N = rarest(target_NK)
    images_NHWC = np.clip(images_NHW + noise_NHW, 0, 255).astype(np.uint8)[..., None]
    split_N = np.tile(np.array(splits, np.uint8), len(label_N) // 8)
    pixels, index = folder / "pixels", folder / "index.npz"
    with PackedWriter(pixels) as writer:
        writer.extend(images_NHWC)
        writer.finish(index, np.arange(len(label_N)), label_N, split_N, target_NK)
    document = {
        "format": "npz",
        "labelled": True,
        "classes": [f"{prefix}{k}" for k in range(classes)],
        "image": {"height": SIDE, "width": SIDE, "channels": 1},
        "splits": {"train": int((split_N == 0).sum()), "validation": int((split_N == 1).sum()), "test": 0},
        "counts": None,
        "mean": [0.5],
        "std": [0.25],
        "sha256": f"{seed:064x}",
    }
    return Data(document, pixels, index)


def _several(label_N: np.ndarray, classes: int) -> np.ndarray:
    """uint8 [N,K]."""
    target_NK = np.eye(classes, dtype=np.uint8)[label_N]
    target_NK[::2] |= np.eye(classes, dtype=np.uint8)[(label_N[::2] + 1) % classes]
    target_NK[::8] = 0
    return target_NK


def transformer(classes: int) -> dict[str, Any]:
    """A plain vision transformer; it takes `TRANSFORMED`."""
    return {"name": "timm/test_vit", "num_classes": classes, "options": {}}


def source(
    folder: Path, classes: int = 10, seed: int = 1, *, of: Callable[[int], dict[str, Any]] = network
) -> tuple[dict[str, Any], Path]:
    """What a job is told of its source, and the weights: drawn at random, batch norm's statistics too."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    spec, input = of(classes), TRANSFORMED if of is transformer else INPUT
    made = build.build(NetworkSpec.model_validate(spec), InputSpec.model_validate(input))
    for name, tensor in made.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
    path = folder / "source.safetensors"
    save_file(made.state_dict(), path)
    names = [str(k) for k in range(classes)]
    return {"network": spec, "input": input, "classes": names, "recipe": RECIPE}, path


@dataclass(frozen=True)
class Setting:
    """All that a job needs, on disk; `method` is its parameters."""

    method: dict[str, Any]
    source: tuple[dict[str, Any], Path] | None
    target: Data
    source_dataset: Data | None = None
    seed: int = 3
    teachers: dict[str, tuple[dict[str, Any], Path]] = field(default_factory=dict)
    environments: dict[str, Data] = field(default_factory=dict)

    def spec(self, workdir: Path, **changes: Any) -> Spec:
        workdir.mkdir(parents=True, exist_ok=True)
        inputs = {"target.pixels": self.target.pixels, "target.index": self.target.index}
        if self.source:
            inputs["source.weights"] = self.source[1]
        if self.source_dataset:
            inputs |= {
                "source_dataset.pixels": self.source_dataset.pixels,
                "source_dataset.index": self.source_dataset.index,
            }
        payload = {
            "method": parse(self.method),
            "seed": self.seed,
            "source": self.source and self.source[0],
            "target": self.target.document,
            "source_dataset": self.source_dataset and self.source_dataset.document,
            "environments": {id_: data.document for id_, data in self.environments.items()},
            "teachers": {id_: document for id_, (document, _) in self.teachers.items()},
        }
        inputs |= {f"teacher.{id_}.weights": path for id_, (_, path) in self.teachers.items()}
        for id_, data in self.environments.items():
            inputs |= {f"environment.{id_}.pixels": data.pixels, f"environment.{id_}.index": data.index}
        return replace(Spec("run", "job_test", RunSpec.load(payload), inputs, workdir, snapshot_every_s=1e9), **changes)


@dataclass
class Outcome:
    """What a job has learned and measured; its files are written when a test asks for them, as a worker writes them.

    A graph costs twenty times as much as all that these small jobs learn.
    """

    measured: Measured
    workdir: Path
    recorder: Recorder

    @property
    def document(self) -> dict[str, Any]:
        """What is stored of the job, but for what is known of its files."""
        return self.measured.document

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        return {
            name: tensor.cpu().clone() for name, tensor in self.measured.adapted.classifier.module.state_dict().items()
        }

    @property
    def sha256(self) -> str:
        return digest.sha256(self.weights)

    @cached_property
    def weights_file(self) -> Path:
        return package.write_weights(self.measured.adapted.classifier.module, self.workdir, self.measured.metadata)

    @cached_property
    def adapter_file(self) -> Path:
        adapter = self.measured.adapted.adapter
        assert adapter is not None
        return package.write_adapter(adapter.tensors, adapter.config, self.workdir)

    @cached_property
    def result(self) -> Result:
        """With the graph, and the adapter if there is one."""
        return run_job.packaged(self.measured, self.workdir)

    @torch.inference_mode()
    def served(self, pixels_NHWC: np.ndarray) -> np.ndarray:
        """float32 [N,K] of what is exported, without the export."""
        made = self.measured.adapted.classifier
        module = Served(made.module, made.structure, made.input, multi_label=self.measured.multi_label)
        return module.cpu().eval()(torch.from_numpy(pixels_NHWC))[0].numpy()

    @property
    def trace(self) -> list[float]:
        """The training loss, point by point."""
        return self.recorder.series("loss", "train")


def run(setting: Setting, workdir: Path, order: Callable[[Recorder], Any] | None = None, **changes: Any) -> Outcome:
    recorder = Recorder(order)
    measured = run_job.learn(setting.spec(workdir, **changes), recorder)
    require_names_fit(recorder)
    return Outcome(measured, workdir, recorder)


def resumed(setting: Setting, folder: Path, moment: int) -> Outcome:
    """The outcome of a job that was stopped at the `moment`-th question and resumed: that of one that ran through."""
    whole = run(setting, folder / "whole")
    orders = iter([None] * moment + ["shutdown"])
    with pytest.raises(Interrupted):
        run(setting, folder / "part", lambda recorder: next(orders))
    [snapshot] = (folder / "part").glob("snapshot-*")
    rest = run(setting, folder / "rest", snapshot=snapshot)
    assert rest.document == whole.document
    assert all(torch.equal(tensor, rest.weights[name]) for name, tensor in whole.weights.items())
    return rest


def require_names_fit(recorder: Recorder) -> None:
    """PostgreSQL refuses a name that is longer than its column, where SQLite, on which most tests run, takes any."""
    for column in (tables.Metric.__table__.c.name, tables.Metric.__table__.c.split):
        assert isinstance(column.type, String)
        assert column.type.length is not None
        assert max((len(getattr(point, column.key)) for point in recorder.of(Metric)), default=0) <= column.type.length


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many images have gone through a network's first layer, all in all."""
    seen = [0]

    def count(module: nn.Module, given: Any, made: Any) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == 1:
            seen[0] += len(given[0])

    hook = nn.modules.module.register_module_forward_hook(count)
    try:
        yield seen
    finally:
        hook.remove()
