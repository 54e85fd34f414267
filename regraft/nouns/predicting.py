"""Predictions and embeddings: one image as the raw body, many as a form."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import httpx

from regraft.images import Image, encoded, media_type
from regraft.nouns.base import given
from regraft.steps import Steps
from regraft.types import Prediction, Predictions, Priors
from regraft.wire import Request

Sender = Callable[[Request], Steps[httpx.Response]]


Adapt = Literal["tent"]
Precision = Literal["float32", "int8"]
Shares = Literal["estimate"] | Mapping[str, float]


def predicting(
    send: Sender,
    path: str,
    images: Image | Sequence[Image],
    top_k: int | None,
    adapt: Adapt | None,
    precision: Precision | None = None,
    priors: Shares | None = None,
) -> Steps[Predictions]:
    shares = priors if priors is None or isinstance(priors, str) else json.dumps(dict(priors))
    params = given({"top_k": top_k, "adapt": adapt, "precision": precision, "priors": shares})
    request = image_request(path, images, params, repeatable=adapt is None)
    response = yield from send(request)
    answer = response.json()
    used = Priors.model_validate(answer["priors"]) if answer.get("priors") else None
    return Predictions(map(Prediction.model_validate, answer["data"]), used)


def image_request(
    path: str, images: Image | Sequence[Image], params: dict[str, Any], *, repeatable: bool = True
) -> Request:
    """Repeatable where it changes nothing."""
    if not isinstance(images, list | tuple):
        data = encoded(images)
        headers = {"Content-Type": media_type(data)}
        return Request("POST", path, repeatable=repeatable, params=params, headers=headers, content=data)
    parts = [encoded(image) for image in images]
    form = [("images", (f"{index}", data, media_type(data))) for index, data in enumerate(parts)]
    return Request("POST", path, repeatable=repeatable, params=params, files=form)
