"""Pages: every one is a question or two to the API, asked as the signed-in browser."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from app.api.pagination import Id
from app.contract.base import ObjectId
from app.page import pictures, render
from app.page.visit import AdminDep, Json, Refusal, Visit, VisitDep

LISTED = 30  # lines of a list
RECENT = 8  # jobs on the overview
CHOICES = 100  # datasets and checkpoints that a form offers: the newest
SAMPLES = 36
EVENTS = 30
MOST_COMPARED = 50
FOLLOWED = ("queued", "running", "cancelling", "processing", "sharpening")  # whose page renews itself

SAID = ("checkpoint", "dataset", "source_dataset", "method", "seed", "name", "priority", "max_seconds")  # of a job

router = APIRouter(include_in_schema=False)
After = Annotated[str | None, Query(max_length=64)]


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
    return await _list(visit, "jobs", after, status=status or None)


@router.get("/jobs/{id}")
async def job(visit: VisitDep, id: Id) -> Response:
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
        by_hand={name: found[name] for name in SAID if found[name] is not None},
        classes=await _classes(visit, found),
        **_measured(found["evaluation"]),
    )


@router.get("/compare")
async def compare(visit: VisitDep, job: Annotated[list[ObjectId], Query(max_length=MOST_COMPARED)] = []) -> Response:  # noqa: B006
    found = await asyncio.gather(*(visit.get(f"/v1/jobs/{id}") for id in dict.fromkeys(job)))
    return render.page("compare.html", visit, jobs=found, differing=_differing(found), live=False)


@router.get("/datasets")
async def datasets(visit: VisitDep, after: After = None) -> Response:
    return await _list(visit, "datasets", after)


@router.get("/datasets/{id}")
async def dataset(visit: VisitDep, id: Id, split: str = "train", label: str | None = None) -> Response:
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
    return await _list(visit, "checkpoints", after)


@router.get("/checkpoints/{id}")
async def checkpoint(visit: VisitDep, id: Id) -> Response:
    found = await visit.get(f"/v1/checkpoints/{id}")
    return render.page("checkpoint.html", visit, checkpoint=found, live=found["status"] in FOLLOWED)


@router.get("/models")
async def models(visit: VisitDep, after: After = None) -> Response:
    return await _list(visit, "models", after)


@router.get("/models/{id}")
async def model(visit: VisitDep, id: Id) -> Response:
    return await model_page(visit, id)


@router.get("/recommendations")
async def recommendations(visit: VisitDep, after: After = None, dataset: str = "") -> Response:
    page = await visit.get("/v1/recommendations", limit=LISTED, after=after)
    offered = await visit.get("/v1/datasets", limit=CHOICES)
    return render.page(
        "recommendations.html",
        visit,
        page=page,
        older=_older(page),
        datasets=[one for one in offered["data"] if one["status"] != "failed"],
        names={one["id"]: one["name"] for one in offered["data"]},
        dataset=dataset,
        live=False,
    )


@router.get("/recommendations/{id}")
async def recommendation(visit: VisitDep, id: Id) -> Response:
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


@router.get("/tournaments")
async def tournaments(visit: VisitDep, after: After = None) -> Response:
    return await _list(visit, "tournaments", after)


@router.get("/sweeps")
async def sweeps(visit: VisitDep, after: After = None) -> Response:
    return await _list(visit, "sweeps", after)


@router.get("/tournaments/{id}")
async def tournament(visit: VisitDep, id: Id) -> Response:
    return await _race(visit, "tournaments", id)


@router.get("/sweeps/{id}")
async def sweep(visit: VisitDep, id: Id) -> Response:
    return await _race(visit, "sweeps", id)


@router.get("/keys")
async def keys(visit: AdminDep, after: After = None) -> Response:
    return await keys_page(visit, after)


async def keys_page(
    visit: Visit, after: str | None = None, new: Json | None = None, problem: Json | None = None
) -> Response:
    page = await visit.get("/v1/keys", limit=LISTED, after=after)
    return render.page(
        "keys.html", visit, code=422 if problem else 200, page=page, older=_older(page), new=new, problem=problem
    )


async def _race(visit: Visit, noun: str, id: str) -> Response:
    """A tournament or a sweep: the leaderboard, and why it is as it is."""
    found = await visit.get(f"/v1/{noun}/{id}")
    forest = pictures.leaderboard(found["candidates"])
    live = found["status"] in FOLLOWED
    return render.page("tournament.html", visit, tournament=found, noun=noun, forest=forest, live=live)


async def model_page(visit: Visit, id: Id, answer: Json | None = None, problem: Json | None = None) -> Response:
    found = await visit.get(f"/v1/models/{id}")
    return render.page(
        "model.html",
        visit,
        code=422 if problem else 200,
        model=found,
        answer=answer,
        problem=problem,
        live=False,
        classes=(found["evaluation"] or {"target": {}})["target"].get("classes") or found["classes"] or [],
        **_measured(found["evaluation"]),
    )


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


async def _list(visit: Visit, noun: str, after: str | None, **filters: str | None) -> Response:
    """A page of the objects of a noun, with a way to the next."""
    page = await visit.get(f"/v1/{noun}", limit=LISTED, after=after, **filters)
    live = any(one.get("status") in FOLLOWED for one in page["data"])
    older = _older(page, **filters)
    return render.page(f"{noun}.html", visit, page=page, older=older, live=live, filters=filters)


def _older(page: Json, **filters: str | None) -> str | None:
    """The address of the list's next page; None where this is the last."""
    if not page["has_more"]:
        return None
    return "?" + urlencode({name: value for name, value in filters.items() if value} | {"after": page["last_id"]})
