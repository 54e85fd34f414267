"""The page: what the service has and does, as HTML that reads without a script.

Every list, page and button is one or two questions to the API, asked as the signed-in browser.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.resources import files
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Form, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.api.services import ServicesDep
from app.core import errors
from app.keys import sessions
from app.page import pictures, render
from app.page.visit import Json, Refusal, SignedOut, Visit, VisitDep

LISTED = 30  # lines of a list
RECENT = 8  # jobs on the overview
CHOICES = 100  # datasets and checkpoints that a form offers: the newest
SAMPLES = 36
EVENTS = 30
MOST_COMPARED = 50
STATIC = ("style.css", "page.js")
VERBS = ("cancel", "pause", "resume", "retry")
FOLLOWED = ("queued", "running", "pausing", "cancelling", "processing", "sharpening")  # whose page renews itself

router = APIRouter(include_in_schema=False)
After = Annotated[str | None, Query(max_length=64)]


def install(app: FastAPI) -> None:
    app.include_router(router)
    app.add_exception_handler(SignedOut, _signed_out)
    app.add_exception_handler(Refusal, _refused)


@router.get("/static/{name}")
def static(name: str) -> FileResponse:
    if name not in STATIC:
        raise errors.NotFound(f"There is nothing at /static/{name!a}.")
    return FileResponse(str(files("app.page") / "static" / name), headers={"Cache-Control": "no-cache"})


# --- coming and going


@router.get("/sign-in")
def sign_in(request: Request, next: str = "/") -> Response:
    return render.page("sign_in.html", request, next=_here(next), fault=None)


@router.post("/sign-in")
def signed_in(
    request: Request, services: ServicesDep, key: Annotated[str, Form(max_length=256)] = "", next: str = "/"
) -> Response:
    try:
        with services.database.unit_of_work() as db:
            cookie = sessions.begin(db, key.strip())
    except errors.Unauthenticated as refusal:
        return render.page("sign_in.html", request, code=401, next=_here(next), fault=refusal.detail)
    response = RedirectResponse(_here(next), 303)
    secure = request.url.scheme == "https"
    response.set_cookie(
        sessions.COOKIE, cookie, int(sessions.LIFETIME_S), httponly=True, samesite="strict", secure=secure
    )
    return response


@router.post("/sign-out")
async def signed_out(visit: VisitDep, services: ServicesDep) -> Response:
    def end() -> None:
        with services.database.unit_of_work() as db:
            sessions.end(db, visit.request.cookies[sessions.COOKIE])

    await run_in_threadpool(end)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(sessions.COOKIE)
    return response


# --- what there is


@router.get("/")
async def overview(visit: VisitDep) -> Response:
    jobs, running, queued, datasets, checkpoints = await asyncio.gather(
        visit.get("/v1/jobs", limit=RECENT),
        visit.get("/v1/jobs", limit=LISTED, status="running"),
        visit.get("/v1/jobs", limit=LISTED, status="queued"),
        visit.get("/v1/datasets", limit=RECENT),
        visit.get("/v1/checkpoints", limit=RECENT),
    )
    return render.page(
        "overview.html",
        visit,
        jobs=jobs["data"],
        running=running,
        queued=queued,
        datasets=datasets["data"],
        checkpoints=checkpoints["data"],
        live=bool(running["data"] or queued["data"]),
    )


@router.get("/jobs")
async def jobs(visit: VisitDep, after: After = None, status: str | None = None) -> Response:
    page = await visit.get("/v1/jobs", limit=LISTED, after=after, status=status or None)
    live = any(job["status"] in FOLLOWED for job in page["data"])
    return render.page("jobs.html", visit, page=page, status=status or "", older=_older(page, status=status), live=live)


@router.get("/jobs/new")
async def new_job(visit: VisitDep, checkpoint: str = "", dataset: str = "", method: str = "fine_tune") -> Response:
    asked = {"checkpoint": checkpoint, "dataset": dataset, "method": method}
    return await _job_form(visit, asked)


@router.post("/jobs/new")
async def made_job(visit: VisitDep) -> Response:
    """`do` is `check`, which queues nothing, or else the job is submitted."""
    asked = {name: visit.text(name) for name in ("checkpoint", "dataset", "method", "labels", "seed", "more", "name")}
    try:
        body = _job(asked)
    except ValueError as fault:
        return await _job_form(visit, asked, problem={"detail": str(fault)})
    try:
        if visit.text("do") == "check":
            return await _job_form(visit, asked, checked=await visit.post("/v1/jobs/preflight", body))
        job = await visit.post("/v1/jobs", body)
    except Refusal as refusal:
        return await _job_form(visit, asked, problem=refusal.problem)
    return _see(f"/jobs/{job['id']}")


@router.get("/jobs/{id}")
async def job(visit: VisitDep, id: str) -> Response:
    found, events, metrics = await asyncio.gather(
        visit.get(f"/v1/jobs/{id}"),
        visit.get(f"/v1/jobs/{id}/events", limit=EVENTS, order="desc"),
        visit.get(f"/v1/jobs/{id}/metrics"),
    )
    names = await _names(visit, found)
    return render.page(
        "job.html",
        visit,
        job=found,
        names=names,
        events=events["data"],
        charts=pictures.curves(metrics["data"]),
        live=found["status"] in FOLLOWED,
        classes=await _classes(visit, found),
        **_measured(found["evaluation"]),
    )


@router.post("/jobs/{id}/{verb}")
async def act(visit: VisitDep, id: str, verb: str) -> Response:
    if verb not in VERBS:
        raise errors.NotFound(f"A job has no {verb!a}.")
    await visit.post(f"/v1/jobs/{id}/{verb}")
    return _see(f"/jobs/{id}")


@router.get("/compare")
async def compare(visit: VisitDep, job: Annotated[list[str], Query(max_length=MOST_COMPARED)] = []) -> Response:  # noqa: B006
    found = await asyncio.gather(*(visit.get(f"/v1/jobs/{id}") for id in dict.fromkeys(job)))
    return render.page("compare.html", visit, jobs=found, differing=_differing(found), live=False)


@router.get("/datasets")
async def datasets(visit: VisitDep, after: After = None) -> Response:
    page = await visit.get("/v1/datasets", limit=LISTED, after=after)
    live = any(one["status"] in FOLLOWED for one in page["data"])
    return render.page("datasets.html", visit, page=page, older=_older(page), live=live)


@router.post("/datasets")
async def made_dataset(visit: VisitDep) -> Response:
    return await _upload(visit, "datasets", lambda file, name: {"file": file, "name": name})


@router.get("/datasets/{id}")
async def dataset(visit: VisitDep, id: str, split: str = "train", label: str | None = None) -> Response:
    found = await visit.get(f"/v1/datasets/{id}")
    samples: Sequence[Json] = ()
    if found["status"] == "ready":
        page = await visit.get(f"/v1/datasets/{id}/samples", split=split, limit=SAMPLES, label=label)
        samples = page["data"]
    return render.page(
        "dataset.html",
        visit,
        dataset=found,
        samples=samples,
        split=split,
        label=label,
        balance=pictures.balance(found),
        live=found["status"] in FOLLOWED,
    )


@router.get("/checkpoints")
async def checkpoints(visit: VisitDep, after: After = None) -> Response:
    page = await visit.get("/v1/checkpoints", limit=LISTED, after=after)
    live = any(one["status"] in FOLLOWED for one in page["data"])
    return render.page("checkpoints.html", visit, page=page, older=_older(page), live=live)


@router.post("/checkpoints")
async def made_checkpoint(visit: VisitDep) -> Response:
    return await _upload(visit, "checkpoints", lambda file, name: {"file": file, "name": name})


@router.get("/checkpoints/{id}")
async def checkpoint(visit: VisitDep, id: str) -> Response:
    found = await visit.get(f"/v1/checkpoints/{id}")
    return render.page("checkpoint.html", visit, checkpoint=found, live=found["status"] in FOLLOWED)


@router.get("/models")
async def models(visit: VisitDep, after: After = None) -> Response:
    page = await visit.get("/v1/models", limit=LISTED, after=after)
    return render.page("models.html", visit, page=page, older=_older(page), live=False)


@router.get("/models/{id}")
async def model(visit: VisitDep, id: str) -> Response:
    return await _model(visit, id)


@router.post("/models/{id}/try")
async def try_it(visit: VisitDep, id: str) -> Response:
    picture = visit.form.get("image")
    if not isinstance(picture, UploadFile) or not picture.size:
        return await _model(visit, id, problem={"detail": "Choose an image first."})
    content = await picture.read(visit.request.app.state.services.settings.max_predict_bytes)
    kind = picture.content_type or "application/octet-stream"
    request = visit.http.build_request(
        "POST", f"/v1/models/{id}/predictions", params={"top_k": 5}, content=content, headers={"Content-Type": kind}
    )
    try:
        answer = await visit.ask(request)
    except Refusal as refusal:
        return await _model(visit, id, problem=refusal.problem)
    return await _model(visit, id, answer=answer["data"][0])


@router.get("/recommendations")
async def recommendations(visit: VisitDep, after: After = None, dataset: str = "") -> Response:
    page = await visit.get("/v1/recommendations", limit=LISTED, after=after)
    offered = await visit.get("/v1/datasets", limit=CHOICES)
    return render.page(
        "recommendations.html",
        visit,
        page=page,
        older=_older(page),
        datasets=offered["data"],
        dataset=dataset,
        live=False,
    )


@router.post("/recommendations")
async def ask(visit: VisitDep) -> Response:
    labels = visit.text("labels") or "all"
    body = {"dataset": visit.text("dataset"), "labels": int(labels) if labels.isdecimal() else labels}
    found = await visit.post("/v1/recommendations", body)
    return _see(f"/recommendations/{found['id']}")


@router.get("/recommendations/{id}")
async def recommendation(visit: VisitDep, id: str) -> Response:
    found = await visit.get(f"/v1/recommendations/{id}")
    names = {one["id"]: one["name"] or one["id"] for one in found["candidates"]}
    ready = found["status"] == "ready"
    outcome = await visit.get(f"/v1/recommendations/{id}/outcome") if ready else None
    to_label = await visit.get(f"/v1/recommendations/{id}/to_label", n=12) if ready else None
    return render.page(
        "recommendation.html",
        visit,
        recommendation=found,
        names=names,
        forest=pictures.forest(found["entries"], names),
        truth={one["rank"]: one for one in outcome["entries"]} if outcome else {},
        to_label=to_label,
        live=found["status"] in FOLLOWED,
    )


@router.post("/recommendations/{id}/jobs")
async def submit(visit: VisitDep, id: str) -> Response:
    job = await visit.post(f"/v1/recommendations/{id}/jobs", {"rank": int(visit.text("rank") or 1)})
    return _see(f"/jobs/{job['id']}")


@router.get("/tournaments")
async def tournaments(visit: VisitDep, after: After = None) -> Response:
    page = await visit.get("/v1/tournaments", limit=LISTED, after=after)
    live = any(one["status"] in FOLLOWED for one in page["data"])
    return render.page("tournaments.html", visit, page=page, older=_older(page), live=live)


@router.post("/tournaments")
async def race(visit: VisitDep) -> Response:
    body = {
        "dataset": visit.text("dataset"),
        "candidates": "recommended",
        "recommendation": visit.text("recommendation"),
    }
    return _see(f"/tournaments/{(await visit.post('/v1/tournaments', body))['id']}")


@router.get("/tournaments/{id}")
async def tournament(visit: VisitDep, id: str) -> Response:
    found = await visit.get(f"/v1/tournaments/{id}")
    forest = pictures.leaderboard(found["candidates"])
    live = found["status"] in FOLLOWED
    return render.page("tournament.html", visit, tournament=found, forest=forest, live=live)


@router.post("/tournaments/{id}/cancel")
async def call_off(visit: VisitDep, id: str) -> Response:
    await visit.post(f"/v1/tournaments/{id}/cancel")
    return _see(f"/tournaments/{id}")


# --- parts


async def _model(visit: Visit, id: str, answer: Json | None = None, problem: Json | None = None) -> Response:
    found = await visit.get(f"/v1/models/{id}")
    return render.page(
        "model.html",
        visit,
        code=422 if problem else 200,
        model=found,
        answer=answer,
        problem=problem,
        live=False,
        **_measured(found["evaluation"]),
    )


async def _job_form(visit: Visit, asked: Json, *, problem: Json | None = None, checked: Json | None = None) -> Response:
    methods, checkpoints, models, datasets = await asyncio.gather(
        visit.get("/v1/methods", limit=100),
        visit.get("/v1/checkpoints", limit=CHOICES, status="ready"),
        visit.get("/v1/models", limit=CHOICES),
        visit.get("/v1/datasets", limit=CHOICES),
    )
    return render.page(
        "new_job.html",
        visit,
        code=422 if problem else 200,
        asked={"labels": "", "seed": "", "more": "", "name": ""} | dict(asked),
        methods=methods["data"],
        checkpoints=[*checkpoints["data"], *models["data"]],
        datasets=datasets["data"],
        problem=problem,
        checked=checked,
        live=False,
    )


def _job(asked: Json) -> Json:
    """The body of a job, of what a form says.

    Raises:
        ValueError: it is none, in words.
    """
    more = json.loads(asked["more"]) if asked["more"] else {}
    if not isinstance(more, dict):
        raise ValueError('Further parameters are a JSON object, such as {"epochs": 5}.')
    method = {"name": asked["method"]} | ({"labels_per_class": int(asked["labels"])} if asked["labels"] else {}) | more
    body = {"method": method, "dataset": asked["dataset"], "checkpoint": asked["checkpoint"], "name": asked["name"]}
    seed = {"seed": int(asked["seed"])} if asked["seed"] else {}
    return {name: value for name, value in body.items() if value} | seed


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


async def _names(visit: Visit, job: Json) -> Json:
    """The names of what a job was made of, by id; what is gone has none."""
    wanted = {"datasets": [job["dataset"]], "checkpoints": [job["checkpoint"]]}

    async def name(path: str) -> str | None:
        try:
            return str((await visit.get(path))["name"])
        except Refusal:
            return None

    ids = [(noun, id_) for noun, of in wanted.items() for id_ in of if id_ and not id_.startswith("model_")]
    names = await asyncio.gather(*(name(f"/v1/{noun}/{id_}") for noun, id_ in ids))
    return {id_: name for (_, id_), name in zip(ids, names, strict=True) if name}


async def _classes(visit: Visit, job: Json) -> Sequence[str]:
    """The names of the classes that a job's confusion matrix has, which are the target's; numbers, where it is gone."""
    evaluation = job["evaluation"]
    if evaluation is None:
        return []
    if evaluation["target"].get("classes"):
        return list(evaluation["target"]["classes"])
    try:
        dataset = await visit.get(f"/v1/datasets/{job['dataset']}")
    except Refusal:
        dataset = {"classes": None}
    width = len(evaluation["target"].get("confusion") or ())
    return dataset["classes"] if len(dataset["classes"] or ()) == width else [str(k) for k in range(width)]


def _measured(evaluation: Json | None) -> Json:
    """The pictures of an evaluation."""
    if evaluation is None:
        return {"helped": [], "matrix": None}
    return {"helped": pictures.helped(evaluation), "matrix": pictures.matrix(evaluation["target"])}


def _differing(jobs: Sequence[Json]) -> list[str]:
    """The parameters of methods in which jobs differ."""
    names = dict.fromkeys(name for job in jobs for name in job["method"])
    return [name for name in names if len({json.dumps(job["method"].get(name)) for job in jobs}) > 1]


def _older(page: Json, **filters: str | None) -> str | None:
    """The address of the list's next page; None where this is the last."""
    if not page["has_more"]:
        return None
    return "?" + urlencode({name: value for name, value in filters.items() if value} | {"after": page["last_id"]})


def _here(path: str) -> str:
    """The path, if it is one of this server; else its first page."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def _see(path: str) -> Response:
    return RedirectResponse(path, 303)


async def _signed_out(request: Request, error: Exception) -> Response:
    asked = request.url.path if request.method == "GET" else "/"
    return RedirectResponse("/sign-in" + ("" if asked == "/" else "?" + urlencode({"next": asked})), 303)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return render.page("refused.html", request, code=int(error.problem["status"]), problem=error.problem, live=False)
