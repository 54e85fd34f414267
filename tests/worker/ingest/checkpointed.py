"""One ingest of a checkpoint, as a worker runs it: a real file in, document, weights and graph out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from app.contract.specs import CheckpointIngest
from tests.weights_files import INPUT, NETWORK
from worker.ingest import checkpoint
from worker.runtime.contract import Failure, Result, Spec
from worker.runtime.recorder import Recorder

DEFAULTS: dict[str, Any] = {
    "network": NETWORK,
    "input": INPUT,
    "classes": None,
    "multi_label": False,
    "recipe": None,
    "pretrained": None,
    "filename": None,
    "weights": None,
    "allow_missing": False,
}
FIELDS = {"network", "input", "classes", "multi_label", "recipe", "parameters", "sha256", "report", "not_servable"}
FIELDS |= {"untrained_head", "image_bytes", "identified"}
LISTS = {"copied", "renamed", "reshaped", "cast", "skipped", "initialised"}


@dataclass(frozen=True)
class Ingested:
    document: dict[str, Any]
    weights: dict[str, Tensor]
    artifacts: dict[str, Path]
    recorder: Recorder

    @property
    def report(self) -> dict[str, list[Any]]:
        return self.document["report"]


def run(folder: Path, data: bytes | None, recorder: Recorder | None = None, **payload: Any) -> Ingested:
    recorder = recorder or Recorder()
    result = result_of(folder, data, recorder, **payload)
    assert set(result.document) == FIELDS
    assert set(result.document["report"]) == LISTS
    assert set(result.artifacts) - {"graph"} == {"weights"}
    assert ("graph" in result.artifacts) == (result.document["not_servable"] is None)
    assert {path.name for path in (folder / "work").iterdir()} == {path.name for path in result.artifacts.values()}
    return Ingested(result.document, load_file(result.artifacts["weights"]), result.artifacts, recorder)


def result_of(folder: Path, data: bytes | None, recorder: Recorder, **payload: Any) -> Result:
    (folder / "work").mkdir(parents=True)
    inputs = {}
    if data is not None:
        inputs["file"] = folder / "blob"
        inputs["file"].write_bytes(data)
    spec = Spec("ingest_checkpoint", "ckpt_1", CheckpointIngest.load(DEFAULTS | payload), inputs, folder / "work")
    return checkpoint.ingest(spec, recorder)


def refusal(folder: Path, data: bytes | None, **payload: Any) -> Failure:
    """The failure that ends the ingest: it says something that a user can act on, and leaves nothing half done."""
    with pytest.raises(Failure) as failed:
        result_of(folder, data, Recorder(), **payload)
    message = failed.value.message
    assert message.isprintable()
    assert not list((folder / "work").iterdir())
    return failed.value
