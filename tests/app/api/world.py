"""Objects in states that only a worker brings about, published as it publishes them, with small real artifacts."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sqlalchemy.orm import Session

from app.blobs.store import Blobs
from app.checkpoints import service as checkpoints
from app.contract.blobs import Written
from app.contract.preflight import MeasuredCost
from app.contract.results import AdaptedResult, CheckpointResult, DatasetResult
from app.core.status import Status
from app.datasets import service as datasets
from app.db.session import Database, now
from app.db.tables import Task, WorkerProcess
from app.imaging.packed import PackedWriter
from app.jobs import rehearsals
from app.jobs import service as jobs
from app.methods.registry import parse
from app.queue import service as queue
from tests.app.api.server import Api

CLASSES = ["top", "middle", "bottom"]
SIDE = 9
INPUT = {"size": [SIDE, SIDE], "channels": 1, "mean": [0.5], "std": [0.25], "fit": "stretch", "margin": 0}
NETWORK = {
    "name": "layers",
    "num_classes": 3,
    "options": {"input": [1, SIDE, SIDE], "layers": [{"type": "Flatten"}, {"type": "Linear", "out_features": 3}]},
}
WEIGHTS = b"not really weights: nobody looks into them here" * 100
MEASURED = {
    "split": "test",
    "n": 3,
    "accuracy": 1.0,
    "accuracy_interval": [0.44, 1.0],
    "balanced_accuracy": 1.0,
    "nll": 0.1,
    "ece": 0.05,
    "per_class": [1.0, 1.0, 1.0],
    "confusion": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}
EVALUATION = {
    "target": MEASURED,
    "source": None,
    "labels_used": "6 of the training split",
    "guard": None,
    "ablation": None,
}

PREPARED = {  # what ingest says of three images a class
    "format": "folder",
    "labelled": True,
    "classes": CLASSES,
    "image": {"height": SIDE, "width": SIDE, "channels": 1},
    "splits": {"train": 6, "validation": 0, "test": 3},
    "counts": {"train": [2, 2, 2], "validation": [0, 0, 0], "test": [1, 1, 1]},
    "mean": [0.33],
    "std": [0.47],
    "refused": [{"name": "broken.png", "reason": "The image is broken."}],
    "sha256": "d" * 64,
}
REGISTERED = {
    "network": NETWORK,
    "input": INPUT,
    "classes": CLASSES,
    "recipe": None,
    "parameters": 246,
    "sha256": "c" * 64,
    "report": {"copied": ["1.weight"], "renamed": [], "reshaped": [], "skipped": [], "initialised": []},
    "not_servable": None,
    "untrained_head": False,
}
TRAINED = {  # but for the method
    "network": NETWORK,
    "input": INPUT,
    "classes": CLASSES,
    "parameters": 246,
    "sha256": "b" * 64,
    "evaluation": EVALUATION,
    "transfer": {"tensors": {"copied": ["1.weight"], "initialised": ["1.bias"]}},
    "not_servable": None,
}


class World:
    """What `client`, who is `owner`, has asked for, and what a worker has made of it."""

    def __init__(self, api: Api, owner: str, scratch: Path) -> None:
        self.api, self.owner = api, owner
        self.client = api.as_owner(owner)
        self.database = Database(api.database_url)
        self.blobs = Blobs((api.home / "blobs").as_uri())
        self._scratch = scratch

    def close(self) -> None:
        self.database.close()

    def file(self, content: bytes = b"some bytes", **params: str) -> dict[str, Any]:
        return made(self.client.post("/v1/files", content=content, params=params), 201)

    def queued_dataset(self, **changes: Any) -> dict[str, Any]:
        body = {"name": "bars", "file": self.file()["id"]} | changes
        return made(self.client.post("/v1/datasets", json=body), 202)

    def dataset(self, *, published: Mapping[str, Any] | None = None, images: int = 9, **changes: Any) -> dict[str, Any]:
        """Three images a class: two to train, one to test; `published` is said of it otherwise.  Of another number of
        images the pixels are others."""
        dataset = self.queued_dataset(**changes)
        self.finish_dataset(dataset["id"], images=images, **(published or {}))
        return self.get(f"/v1/datasets/{dataset['id']}")

    def validated(self) -> dict[str, Any]:
        """A dataset with as many validation images as test images."""
        splits, counts = {"train": 3, "validation": 3, "test": 3}, [1, 1, 1]
        return self.dataset(
            published={"splits": splits, "counts": {"train": counts, "validation": counts, "test": counts}}
        )

    def finish_dataset(self, dataset_id: str, stored_bytes: int = 0, images: int = 9, **published: Any) -> None:
        pixels, index = self._packed(images)
        with self.running(dataset_id) as (db, task):
            written = Written({"pixels": pixels, "index": index}, stored_bytes)
            datasets.publish(db, dataset_id, DatasetResult.load(PREPARED | published), written)
            queue.succeed(db, task)

    def queued_checkpoint(self, **changes: Any) -> dict[str, Any]:
        body = {"name": "bars", "file": self.file()["id"], "network": NETWORK} | changes
        return made(self.client.post("/v1/checkpoints", json=body), 202)

    def checkpoint(
        self, *, servable: bool = True, untrained_head: bool = False, weights: bytes = WEIGHTS, **changes: Any
    ) -> dict[str, Any]:
        checkpoint = self.queued_checkpoint(**changes)
        self.finish_checkpoint(
            checkpoint["id"], servable=servable, untrained_head=untrained_head, weights=weights, **changes
        )
        return self.get(f"/v1/checkpoints/{checkpoint['id']}")

    def finish_checkpoint(
        self,
        checkpoint_id: str,
        *,
        servable: bool = True,
        untrained_head: bool = False,
        weights: bytes = WEIGHTS,
        **changes: Any,
    ) -> None:
        graph = self.blobs.put([graph_bytes()]).sha256 if servable else None
        document = REGISTERED | {
            "classes": changes.get("classes", CLASSES),
            "recipe": changes.get("recipe"),
            "not_servable": None if servable else "ONNX has no such operation.",
            "untrained_head": untrained_head,
        }
        with self.running(checkpoint_id) as (db, task):
            blobs = {"weights": self.blobs.put([weights]).sha256} | ({} if graph is None else {"graph": graph})
            checkpoints.publish(db, checkpoint_id, CheckpointResult.load(document), Written(blobs))
            queue.succeed(db, task)

    def queued_job(self, **changes: Any) -> dict[str, Any]:
        body = {"method": {"name": "train", "network": NETWORK}} | changes
        body.setdefault("dataset", None)
        if body["dataset"] is None:
            body["dataset"] = self.dataset()["id"]
        return made(self.client.post("/v1/jobs", json=body), 202)

    def finished_job(self, *, servable: bool = True, **changes: Any) -> dict[str, Any]:
        job = self.queued_job(**changes)
        self.finish_job(job["id"], servable=servable)
        return self.get(f"/v1/jobs/{job['id']}")

    def finish_job(
        self, job_id: str, *, servable: bool = True, energy: bool = True, adapter: bytes | None = None, **published: Any
    ) -> None:
        graph = self.blobs.put([graph_bytes(energy=energy)]).sha256 if servable else None
        weights = self.blobs.put([WEIGHTS]).sha256
        with self.running(job_id) as (db, task):
            document = TRAINED | {
                "method": parse(jobs.stored(db, job_id).method),
                "not_servable": None if servable else "ONNX has no such operation.",
            }
            blobs = {"weights": weights} | ({} if graph is None else {"graph": graph})
            if adapter is not None:
                blobs["adapter"] = self.blobs.put([adapter]).sha256
            jobs.publish(db, job_id, AdaptedResult.load(document | published), Written(blobs))
            queue.succeed(db, task)

    def finish_preflight(self, preflight_id: str, **published: Any) -> None:
        """As a worker of this host would, on a processor."""
        cost = {"device": "cpu", "fits": True, "seconds": 8.0, "memory_bytes": 2**20, "available_bytes": 2**30}
        worker = WorkerProcess(
            id="worker_1", host="here", pid=1, device="auto", started_at=now(), seen_at=now(), warm=True
        )
        with self.running(preflight_id) as (db, task):
            db.merge(worker)
            task.worker = "worker_1"
            db.flush()
            rehearsals.publish(db, preflight_id, MeasuredCost.load(cost | published), Written({}))
            queue.succeed(db, task)

    def model(self, *, servable: bool = True, **changes: Any) -> dict[str, Any]:
        return self.get(f"/v1/models/{self.finished_job(servable=servable, **changes)['model']}")

    def published_model(self, **published: Any) -> dict[str, Any]:
        """A model of whose publishing something is said."""
        job = self.queued_job()
        self.finish_job(job["id"], **published)
        made_of = self.get(f"/v1/jobs/{job['id']}")
        return self.get(f"/v1/models/{made_of['model']}")

    def fail(self, step_id: str, code: str = "out_of_memory") -> None:
        with self.running(step_id) as (db, task):
            queue.fail(db, task, code, "It took too much memory.")

    def say(self, job_id: str, *messages: str) -> None:
        with self.database.unit_of_work() as db:
            for message in messages:
                queue.note(db, job_id, "told", message, data={"n": len(message)})

    @contextmanager
    def running(self, step_id: str) -> Iterator[tuple[Session, Task]]:
        """The step as if a worker had claimed it."""
        with self.database.unit_of_work() as db:
            task = db.get_one(Task, step_id)
            task.status = Status.RUNNING
            db.flush()
            yield db, task

    def get(self, path: str) -> dict[str, Any]:
        return made(self.client.get(path), 200)

    def _packed(self, images: int) -> tuple[str, str]:
        pixels, index = self._scratch / "pixels", self._scratch / "index.npz"
        with PackedWriter(pixels) as writer:
            for place in range(images):
                writer.add(bar(CLASSES[place % 3])[..., None])
            split = np.repeat([0, 0, 2], images // 3).astype(np.uint8)
            writer.finish(index, np.arange(images), np.tile([0, 1, 2], images // 3), split)
        return self.blobs.put_file(pixels).sha256, self.blobs.put_file(index).sha256


def made(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return response.json()


def bar(name: str) -> np.ndarray:
    """A third of the image is white."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    start = CLASSES.index(name) * SIDE // 3
    image[start : start + SIDE // 3] = 255
    return image


def png(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(bar(name)).save(buffer, "PNG")
    return buffer.getvalue()


def graph_bytes(*, energy: bool = True) -> bytes:
    """Tells which third of an image is the brightest: features are its 81 pixels, each 0 to 1.

    Without `energy` as version 0.1.0 exported it.
    """
    thirds = np.zeros((SIDE * SIDE, 3), np.float32)
    for k in range(3):
        thirds[k * SIDE * 3 : (k + 1) * SIDE * 3, k] = 0.2
    constants = [
        numpy_helper.from_array(np.array([0, SIDE * SIDE], np.int64), "flat"),
        numpy_helper.from_array(np.array(255, np.float32), "white"),
        numpy_helper.from_array(thirds, "thirds"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "flat"], ["row"]),
        helper.make_node("Div", ["row", "white"], ["features"]),
        helper.make_node("MatMul", ["features", "thirds"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 1])]
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", SIDE * SIDE]),
    ]
    if energy:
        constants.append(numpy_helper.from_array(np.array([1], np.int64), "classes"))
        nodes.append(helper.make_node("ReduceLogSumExp", ["logits", "classes"], ["free"], keepdims=0))
        nodes.append(helper.make_node("Neg", ["free"], ["energy"]))
        outputs.append(helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["n"]))
    graph = helper.make_graph(nodes, "bars", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
