"""Forms: what a browser brings, asks for and stops.  Each ends in a page of what came of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import UploadFile

from app.api.pagination import Id
from app.core import errors
from app.methods.registry import OFFERED
from app.page import parameters, render
from app.page.seeing import CHOICES, keys_page, model_page
from app.page.visit import AdminDep, BringDep, Json, Refusal, TryDep, Visit, VisitDep

FIELDS = (
    "checkpoint",
    "dataset",
    "source_dataset",
    "method",
    "labels",
    "seed",
    "more",
    "name",
)  # of the form for a job
NAMING = ("checkpoint", "dataset", "source_dataset")  # of these, fields that name an object
VERBS = ("cancel", "pause", "resume", "retry")

router = APIRouter(include_in_schema=False)


@router.get("/jobs/new")
async def new_job(visit: VisitDep, checkpoint: str = "", dataset: str = "", method: str = "fine_tune") -> Response:
    asked = {"checkpoint": checkpoint, "dataset": dataset, "method": method}
    return await _job_form(visit, asked)


@router.post("/jobs/new")
async def made_job(visit: VisitDep) -> Response:
    """`do` is `show`, which shows the method's parameters, `check`, which queues nothing, or else it is submitted."""
    asked = {name: value for name, value in visit.form.items() if isinstance(value, str)}
    if visit.text("do") == "show":
        return await _job_form(visit, asked)
    try:
        body = _job(asked)
        if visit.text("do") == "check":
            return await _job_form(visit, asked, checked=await visit.post("/v1/jobs/preflight", body))
        job = await visit.post("/v1/jobs", body)
    except Refusal as refusal:
        return await _job_form(visit, asked, problem=refusal.problem)
    except (ValueError, RecursionError) as fault:  # no JSON, or none that can be sent
        return await _job_form(visit, asked, problem={"detail": str(fault) or "That cannot be read."})
    return _see(f"/jobs/{job['id']}")


@router.post("/jobs/{id}/{verb}")
async def act(visit: VisitDep, id: Id, verb: str) -> Response:
    if verb not in VERBS:
        raise errors.NotFound(f"A job has no {verb!a}.")
    await visit.post(f"/v1/jobs/{id}/{verb}")
    return _see(f"/jobs/{id}")


@router.post("/datasets")
async def made_dataset(visit: BringDep) -> Response:
    return await _upload(visit, "datasets", lambda file, name: {"file": file, "name": name})


@router.post("/checkpoints")
async def made_checkpoint(visit: BringDep) -> Response:
    return await _upload(visit, "checkpoints", lambda file, name: {"file": file, "name": name})


@router.post("/models/{id}/try")
async def try_it(visit: TryDep, id: Id) -> Response:
    picture = visit.form.get("image")
    if not isinstance(picture, UploadFile) or not picture.size:
        return await model_page(visit, id, problem={"detail": "Choose an image first."})
    content = await picture.read()
    kind = picture.content_type or "application/octet-stream"
    request = visit.http.build_request(
        "POST", f"/v1/models/{id}/predictions", params={"top_k": 5}, content=content, headers={"Content-Type": kind}
    )
    try:
        answer = await visit.ask(request)
    except Refusal as refusal:
        return await model_page(visit, id, problem=refusal.problem)
    return await model_page(visit, id, answer=answer["data"][0])


@router.post("/recommendations")
async def ask(visit: VisitDep) -> Response:
    body = {"dataset": visit.text("dataset"), "labels": _number(visit.text("labels") or "all")}
    found = await visit.post("/v1/recommendations", body)
    return _see(f"/recommendations/{found['id']}")


@router.post("/recommendations/{id}/jobs")
async def submit(visit: VisitDep, id: Id) -> Response:
    job = await visit.post(f"/v1/recommendations/{id}/jobs", {"rank": _number(visit.text("rank"))})
    return _see(f"/jobs/{job['id']}")


@router.post("/tournaments")
async def race(visit: VisitDep) -> Response:
    body = {
        "dataset": visit.text("dataset"),
        "candidates": "recommended",
        "recommendation": visit.text("recommendation"),
    }
    return _see(f"/tournaments/{(await visit.post('/v1/tournaments', body))['id']}")


@router.post("/tournaments/{id}/cancel")
async def call_off(visit: VisitDep, id: Id) -> Response:
    await visit.post(f"/v1/tournaments/{id}/cancel")
    return _see(f"/tournaments/{id}")


@router.post("/sweeps/{id}/cancel")
async def call_off_sweep(visit: VisitDep, id: Id) -> Response:
    await visit.post(f"/v1/sweeps/{id}/cancel")
    return _see(f"/sweeps/{id}")


@router.post("/keys")
async def made_key(visit: AdminDep) -> Response:
    """The page shows the key itself, once: no other ever does."""
    body: dict[str, object] = {"name": visit.text("name"), "scopes": visit.form.getlist("scope")}
    if visit.text("expires"):
        body["expires_at"] = f"{visit.text('expires')}T00:00:00Z"
    try:
        return await keys_page(visit, new=await visit.post("/v1/keys", body))
    except Refusal as refusal:
        return await keys_page(visit, problem=refusal.problem)


@router.post("/keys/{id}/revoke")
async def revoke(visit: AdminDep, id: Id) -> Response:
    await visit.ask(visit.http.build_request("DELETE", f"/v1/keys/{id}"))
    return _see("/keys")


async def _job_form(visit: Visit, asked: Json, *, problem: Json | None = None, checked: Json | None = None) -> Response:
    methods, checkpoints, models, datasets = await asyncio.gather(
        visit.get("/v1/methods", limit=100),
        visit.get("/v1/checkpoints", limit=CHOICES, status="ready"),
        visit.get("/v1/models", limit=CHOICES),
        visit.get("/v1/datasets", limit=CHOICES),
    )
    asked = dict.fromkeys(FIELDS, "") | dict(asked)
    known = {one["id"] for one in (*checkpoints["data"], *models["data"], *datasets["data"])}
    chosen = OFFERED.get(asked["method"])
    return render.page(
        "new_job.html",
        visit,
        code=422 if problem else 200,
        asked=asked,
        methods=methods["data"],
        parameters=[] if chosen is None else parameters.of(chosen.model_json_schema()),
        checkpoints=[*checkpoints["data"], *models["data"]],
        datasets=[one for one in datasets["data"] if one["status"] != "failed"],
        others={name: asked[name] for name in NAMING if asked[name] and asked[name] not in known},
        problem=problem,
        checked=checked,
        live=False,
    )


def _job(asked: Json) -> Json:
    """The body of a job, of what a form says.

    Raises:
        ValueError: it is none, in words.
    """

    def text(name: str) -> str:
        return str(asked.get(name, "")).strip()

    more = json.loads(text("more") or "{}", parse_constant=_refused)
    if not isinstance(more, dict):
        raise ValueError('Further parameters are a JSON object, such as {"terms": []}.')
    chosen = OFFERED.get(text("method"))
    said = {} if chosen is None else parameters.given(parameters.of(chosen.model_json_schema()), text)
    labels = {"labels_per_class": _number(text("labels"))} if text("labels") else {}
    method = {"name": text("method")} | labels | said | more
    body = {"method": method} | {name: text(name) for name in (*NAMING, "name") if text(name)}
    return body | ({"seed": _number(text("seed"))} if text("seed") else {})


def _number(said: str) -> int | str:
    """The number that a field says; text that is none stays as it is, for the API to say what it would have."""
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 19 else said


def _refused(constant: str) -> None:
    """
    Raises:
        ValueError: JSON has no such number.
    """
    raise ValueError(f"{constant} is no number.")


async def _upload(visit: Visit, noun: str, body: Callable[[str, str], Json]) -> Response:
    """Store the form's file, and make an object of it."""
    sent = visit.form.get("file")
    if not isinstance(sent, UploadFile) or not sent.size:
        raise Refusal({"title": "No file", "detail": "Choose a file first.", "status": 422, "code": "invalid"})

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await sent.read(2**20):
            yield piece

    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(sent.size)}
    params = {"filename": sent.filename or "file"}
    file = await visit.ask(
        visit.http.build_request("POST", "/v1/files", params=params, content=pieces(), headers=headers)
    )
    name = visit.text("name") or (sent.filename or noun).rpartition("/")[2].partition(".")[0] or noun
    made = await visit.post(f"/v1/{noun}", body(file["id"], name))
    return _see(f"/{noun}/{made['id']}")


def _see(path: str) -> Response:
    return RedirectResponse(path, 303)
