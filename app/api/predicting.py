"""Predictions and embeddings: the same for models and checkpoints."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import Query, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api import images, multipart, openapi
from app.api.caller import Sender
from app.api.parts import Parts
from app.api.shapes.predictions import Images
from app.core import errors
from app.db.tables import Servable as Row
from app.serving.service import Prediction, Servable

TOP_K = 5  # unless more are asked for
PRESENT = 0.5  # the probability from which on a class is one of an image's labels
MOST = 1000
RESPONSES = openapi.refusals(
    errors.BadRequest,
    errors.NotFound,
    errors.NotReady,
    errors.NotServable,
    *openapi.BODY,
    errors.InvalidImage,
    errors.Unavailable,
    errors.Overloaded,
)
BODY = openapi.body(
    {
        "image/*": openapi.BYTES,
        multipart.MEDIA_TYPE: openapi.form(images.FIELD, many=True),
        "application/json": {"schema": Images.model_json_schema()},
    }
)

TopK = Annotated[
    int | None,
    Query(ge=1, le=MOST, description="How many of the likeliest classes: 5, or all where an image has any number."),
]
Give = Callable[[Row, Sequence[Prediction]], list[dict[str, Any]]]


async def answer(
    request: Request, sender: Sender, house: Parts, find: Callable[[Session], Row], give: Give
) -> Response:
    """What the network of the row that `find` gives makes of the images of the request, in the order sent."""
    row = await run_in_threadpool(sender.reads, find)
    servable = Servable.of(row)
    encoded = await images.read(request, house.settings.max_predict_bytes)
    data = give(row, await house.serving.predict(servable, encoded))
    body = orjson.dumps({"object": "list", "data": data}, option=orjson.OPT_SERIALIZE_NUMPY)
    if sender.key is None:
        return Response(body, media_type="application/json")
    digests = "".join(hashlib.sha256(image).hexdigest() for image in encoded)
    return await run_in_threadpool(sender.once, lambda _: body, of=digests)


def classified(top_k: int | None) -> Give:
    """The likeliest `top_k` classes of each image, the likeliest first.

    Where an image has any number of labels: all classes unless `top_k` is given, and `labels`, those that are at least
    as probable as not.
    """

    def give(row: Row, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
        probabilities_NK = np.stack([prediction.probabilities for prediction in predictions])
        classes = row.classes or [str(k) for k in range(probabilities_NK.shape[1])]
        shown = top_k or (None if row.multi_label else TOP_K)
        order_NK = np.argsort(-probabilities_NK, axis=1, kind="stable")
        data = []
        for index, (order_K, probabilities_K) in enumerate(zip(order_NK.tolist(), probabilities_NK, strict=True)):
            top = [{"label": classes[k], "probability": probabilities_K[k]} for k in order_K[:shown]]
            several = {"labels": [classes[k] for k in order_K if probabilities_K[k] >= PRESENT]}
            data.append({"index": index, **top[0], **(several if row.multi_label else {}), "top": top})
        return data

    return give


def embedded(row: Row, predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    return [{"index": index, "embedding": prediction.features} for index, prediction in enumerate(predictions)]
