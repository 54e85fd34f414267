"""`/v2`: models and checkpoints by the Open Inference Protocol, as clients of Triton, KServe and others speak it."""

import numpy as np
from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api import bodies
from app.api.dependencies import Guest
from app.api.health import readyz
from app.api.pagination import Id
from app.api.predictions import tensors
from app.api.services import ServicesDep
from app.checkpoints import service as checkpoints
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.core import errors, ids
from app.core.version import public_version
from app.db.tables import ServableRow
from app.models import service as models
from app.serving.service import Servable

VERSION = "1"  # the only one of each model: models do not change
LENGTH = "Inference-Header-Content-Length"
server = APIRouter(prefix="/v2", include_in_schema=False)
router = APIRouter(prefix="/v2/models", include_in_schema=False, route_class=bodies.Route)


@server.get("")
async def about() -> dict[str, object]:
    return {"name": "regraft", "version": public_version(), "extensions": ["binary_tensor_data", "classification"]}


@server.get("/health/live")
async def live() -> dict[str, bool]:
    return {"live": True}


@server.get("/health/ready")
def ready(services: ServicesDep) -> dict[str, bool]:
    readyz(services)
    return {"ready": True}


@router.get("/{id}/versions/{version}/ready")
@router.get("/{id}/ready")
def model_ready(id: Id, caller: Guest, version: str = VERSION) -> dict[str, object]:
    row = caller.reads(lambda db: _row(db, caller.owner, id, version))
    Servable.of(row)
    return {"name": id, "ready": True}


@router.get("/{id}/versions/{version}")
@router.get("/{id}")
async def metadata(id: Id, caller: Guest, services: ServicesDep, version: str = VERSION) -> dict[str, object]:
    """Inputs and outputs; −1 is any number of images."""
    row = await run_in_threadpool(caller.reads, lambda db: _row(db, caller.owner, id, version))
    servable = Servable.of(row)
    input, network = InputSpec.model_validate(row.input), NetworkSpec.model_validate(row.network)
    shapes: dict[str, list[int]] = {"probabilities": [-1, network.num_classes]}
    more = await services.serving.more(servable)
    shapes["features"] = [-1, more.features]
    if more.gives_energy:
        shapes["energy"] = [-1]
    return {
        "name": id,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": tensors.INPUT, "datatype": "UINT8", "shape": [-1, *input.shape]}],
        "outputs": [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in shapes.items()],
    }


@router.post("/{id}/versions/{version}/infer")
@router.post("/{id}/infer")
async def infer(id: Id, request: Request, caller: Guest, services: ServicesDep, version: str = VERSION) -> Response:
    row = await run_in_threadpool(caller.reads, lambda db: _row(db, caller.owner, id, version))
    servable = Servable.of(row)
    body = await bodies.whole(request, services.settings.max_predict_bytes)
    spec = InputSpec.model_validate(row.input)
    asked = await run_in_threadpool(tensors.read, body, request.headers.get(LENGTH), spec)
    wanted = {output.name for output in asked.outputs}
    found = await services.serving.infer(servable, asked.pixels, owner=row.owner, features="features" in wanted)
    outputs: dict[str, tensors.Tensor] = {"probabilities": np.stack([one.probabilities for one in found])}
    if "features" in wanted:
        outputs["features"] = np.stack([one.features for one in found if one.features is not None])
    if "energy" in wanted:
        outputs["energy"] = _energies([one.energy for one in found])
    answer, length = await run_in_threadpool(tensors.written, asked, outputs, row.classes, id)
    if length is None:
        return Response(answer, media_type="application/json")
    return Response(answer, headers={LENGTH: str(length)}, media_type="application/octet-stream")


def _energies(energies: list[float | None]) -> tensors.Tensor:
    if None in energies:
        raise errors.Invalid("The graph of this model was exported before it gave energies.", param="outputs")
    return np.array(energies, np.float32)


def _row(db: Session, owner: str, id: str, version: str) -> ServableRow:
    if version != VERSION:
        raise errors.NotFound(f"{id} has the version {VERSION} alone.")
    if ids.is_of(id, "ckpt"):
        return checkpoints.answering(db, owner, id)
    return models.answering(db, owner, id)
