"""One measurement: a method, so many labels, a seed; by the methods' own code, without the queue and the export."""

import hashlib
import json
import math
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import DatasetSpec
from app.methods.registry import parse
from contest import data, plan
from contest.data import Labelled, Packed
from worker.methods import measure
from worker.methods.registry import METHODS
from worker.methods.task import Adapted, Domain, Source, Task
from worker.runtime import device
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

Method = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """`method` are a job's parameters, or those of the SVM on pixels, with `steps` where a job has epochs.

    `tuning`: judged within the target's pool, not on its test split.
    """

    domain: str
    method: Method
    labels: int
    seed: int
    tuning: bool = False
    quick: bool = False

    @property
    def key(self) -> str:
        """Equal for equal measurements by the same code: all that decides the outcome is in it."""
        domain = plan.domain(self.domain, self.quick)
        what = asdict(self) | {"plan": domain.document()} | ({"one_origin": True} if domain.one_origin else {})
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    @property
    def origin(self) -> "Origin":
        shared = self.tuning or plan.DOMAINS[self.domain].one_origin
        return Origin(self.domain, "tuning" if shared else self.seed, self.quick)


@dataclass(frozen=True)
class Origin:
    """A source (or a teacher): one for each seed and one for all tuning, or one for everything."""

    domain: str
    seed: int | str
    quick: bool = False

    def path(self, folder: Path) -> Path:
        """Its weights; beside it lies what they are."""
        return folder / f"{self.domain}-{self.seed}{'-quick' if self.quick else ''}.safetensors"


def measured(cell: Cell, folder: Path) -> float:
    """Accuracy, 0 to 1.  `folder` keeps the packed images and the sources, which must have been trained."""
    target = _target(cell, folder)
    if cell.method["name"] == "svm_on_pixels":
        return _svm_on_pixels(cell, target)
    teaches = plan.DOMAINS[cell.domain].teaches
    origin = None
    if teaches or cell.method["name"] != "train":
        origin = _load(cell.origin.path(folder))
    method = _closed(cell, len(target.document["classes"]))
    learns_alone = method["name"] == "train"
    source, teachers = (None if learns_alone else origin), ({plan.TEACHER: origin} if origin and teaches else {})
    _, accuracy = _run(method, cell.seed, target, source, teachers)
    return accuracy


def train_origin(origin: Origin, folder: Path) -> None:
    """Unless it is there as the plan wants it."""
    domain = plan.domain(origin.domain, origin.quick)
    path = origin.path(folder)
    about, wanted = path.with_suffix(".json"), domain.document()
    if about.exists() and json.loads(about.read_text())["plan"] == wanted:
        return
    packed = data.pack(folder, _called(origin.domain, "source", domain.source_data), domain.source_data)
    seed = origin.seed if isinstance(origin.seed, int) else plan.TUNING_SEEDS[0]
    adapted, _ = _run(domain.source, seed, packed)
    save_file({key: tensor.contiguous() for key, tensor in adapted.classifier.module.state_dict().items()}, path)
    found = {
        "network": adapted.spec.model_dump(mode="json"),
        "input": adapted.classifier.input.model_dump(mode="json"),
        "classes": adapted.classifier.classes,
    }
    about.write_text(json.dumps(found | {"plan": wanted}))


def _target(cell: Cell, folder: Path) -> Packed:
    make = plan.DOMAINS[cell.domain].target_data
    if not cell.tuning:
        return data.pack(folder, _called(cell.domain, "target", make), make)
    name = _called(cell.domain, f"tuning-{cell.labels}-{cell.seed}", make)
    return data.pack(folder, name, lambda: data.tuning(make(), cell.labels, cell.seed))


def _called(domain: str, role: str, make: Callable[[], Labelled]) -> str:
    """Other data go by another name."""
    return f"{domain}-{role}-{zlib.crc32(plan.said(make).encode()):08x}"


def _closed(cell: Cell, classes: int) -> Method:
    """Steps as epochs, but at least `plan.MIN_EPOCHS`; and the label budget."""
    if cell.method["name"] == "evaluate":
        return cell.method
    method = dict(cell.method) | {"labels_per_class": cell.labels}
    if "steps" not in method:
        return method
    batches = math.ceil(cell.labels * classes / method["batch_size"])
    method["epochs"] = max(plan.MIN_EPOCHS, math.ceil(method.pop("steps") / batches))
    return method


def _run(
    method: Method,
    seed: int,
    target: Packed,
    source: Source | None = None,
    teachers: Mapping[str, Source] | None = None,
) -> tuple[Adapted, float]:
    with tempfile.TemporaryDirectory() as workdir:
        run = Run(Recorder(), Path(workdir), seed=seed, snapshot_every_s=math.inf)
        task = Task(run, target=_domain(target), source=source, teachers=teachers or {})
        with device.reproducible(run.device, seed, threads=1):
            adapted = METHODS[method["name"]](task, parse(method))
            evaluation = measure.evaluation(task, adapted)
    return adapted, math.nan if evaluation is None else evaluation.target.accuracy


def _domain(packed: Packed) -> Domain:
    return Domain.open(DatasetSpec.load(packed.document), packed.pixels, packed.index)


def _load(weights: Path) -> Source:
    about = json.loads(weights.with_suffix(".json").read_text())
    spec, input = NetworkSpec.model_validate(about["network"]), InputSpec.model_validate(about["input"])
    return Source(spec, input, about["classes"], None, weights)


def _svm_on_pixels(cell: Cell, target: Packed) -> float:
    """scikit-learn's SVC on the images as they are, scaled to 0–1: the same labels, the same images to judge by."""
    from sklearn.svm import SVC

    from app.methods.training import LabelBudget

    domain = _domain(target)
    train = domain.within(domain.labelled("train"), LabelBudget(labels_per_class=cell.labels), cell.seed)
    test = domain.labelled("test")
    params = {name: value for name, value in cell.method.items() if name != "name"}
    pixels = partial(_pixels, domain)
    classifier = SVC(**params).fit(pixels(train), domain.images.label[train])
    return float(classifier.score(pixels(test), domain.images.label[test]))


def _pixels(domain: Domain, rows: np.ndarray) -> np.ndarray:
    """float [N, H·W]."""
    return np.stack([domain.images[row].ravel() for row in rows.tolist()]) / 255
