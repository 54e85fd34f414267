"""Predictions and embeddings: the same for models and checkpoints."""

import asyncio
import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import Query, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api import multipart, openapi
from app.api.dependencies import Sender
from app.api.predictions import images, priors
from app.api.schemas.predictions import Images
from app.api.services import Services
from app.contract.inputs import InputSpec
from app.core import errors
from app.db.tables import ServableRow as Row
from app.serving.predictor import Floats, ImagePrediction
from app.serving.service import Precision, Servable
from app.serving.streams import Adaptable

TOP_K = 5  # unless more are asked for
PRESENT = 0.5  # the probability from which on a class is one of an image's labels
MOST = 1000
MANY = 64  # from so many classes on it is faster not to sort them all
AT_ONCE = 64  # images whose answers are put into words before other requests have their turn
RESPONSES = openapi.refusals(
    errors.BadRequest,
    errors.NotFound,
    errors.NotReady,
    errors.NotServable,
    errors.UntrainedHead,
    errors.NoReference,
    *openapi.BODY,
    errors.InvalidImage,
    errors.Unavailable,
    errors.Overloaded,
    errors.NotAdaptable,
    errors.NotQuantized,
    errors.NotInstalled,
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
Give = Callable[[Row, Sequence[ImagePrediction]], list[dict[str, object]]]


Adapt = Annotated[
    Literal["tent"] | None,
    Query(
        description="Answered by a network that has adapted to the images it was asked about before, and adapts on.  "
        "It goes with no `Idempotency-Key`, and with no `precision` but `float32`."
    ),
]


async def adapting(
    request: Request, id: str, sender: Sender, services: Services, find: Callable[[Session], Row], give: Give
) -> Response:
    """Answer by the network that adapts to the stream of such requests, and say where its adaptation stands."""
    if sender.key is not None:
        message = "An adapting network answers differently every time: leave the Idempotency-Key out."
        raise errors.Invalid(message, param="adapt")
    row = await run_in_threadpool(sender.reads, find)
    what = Adaptable.of(row, id)
    sent = await images.read(request, services.settings.max_predict_bytes)
    services.serving.require_few(Servable.of(row), len(sent))
    pixels = await services.serving.decoded(sent, InputSpec.model_validate(row.input), owner=row.owner)
    predictions, adaptation = await services.streams.predict(what, pixels)
    return Response(await written(row, predictions, give, adaptation=adaptation), media_type="application/json")


AtPrecision = Annotated[Precision, Query(description="`int8`: by the graph that a quantization has made.")]


async def answer(
    request: Request,
    sender: Sender,
    services: Services,
    find: Callable[[Session], Row],
    give: Give,
    precision: Precision = "float32",
    wanted_priors: str | None = None,
) -> Response:
    """Answer with what the network of the row that `find` gives makes of the images of the request, in the order
    sent."""
    row = await run_in_threadpool(sender.reads, find)
    servable = Servable.of(row, precision)
    shift = None if wanted_priors is None else priors.Shift.of(row, wanted_priors)
    sent = await images.read(request, services.settings.max_predict_bytes)
    if shift is not None:
        shift.require_enough(len(sent))
    predictions = await asked(services, request.url.path, servable, sent, owner=row.owner, features=give is embedded)
    more: dict[str, object] = {}
    if shift is not None:
        predictions, more["priors"] = await run_in_threadpool(shift.corrected, predictions)
    body = await written(row, predictions, give, **more)
    if sender.key is None:
        return Response(body, media_type="application/json")
    digests = "".join(hashlib.sha256(image).hexdigest() for image in sent)
    return await run_in_threadpool(sender.once, lambda _: body, of=digests, effect=False)


async def asked(
    services: Services, path: str, servable: Servable, sent: Sequence[bytes], *, owner: str, features: bool = False
) -> list[ImagePrediction]:
    """Predictions; where there is no room for them, the next requests of that path are refused by their heads."""
    try:
        return await services.serving.predict(servable, sent, owner=owner, features=features)
    except errors.Overloaded:
        services.refusals.note(path, services.serving.capacity // len(sent))
        raise


def encoded(data: list[dict[str, object]]) -> bytes:
    return orjson.dumps({"object": "list", "data": data}, option=orjson.OPT_SERIALIZE_NUMPY)


async def written(row: Row, predictions: Sequence[ImagePrediction], give: Give, **more: Any) -> bytes:
    """The JSON of an answer for any number of images, written a few at a time: a long answer holds nobody up."""
    pieces = []
    for start in range(0, len(predictions), AT_ONCE):
        data = give(row, predictions[start : start + AT_ONCE])
        for index, image in enumerate(data, start):
            image["index"] = index
        pieces.append(orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
        await asyncio.sleep(0)
    tail = orjson.dumps(more)[1:-1] if more else b""
    return b'{"object":"list","data":[%b]%b}' % (b",".join(pieces), b"," + tail if tail else b"")


def classified(top_k: int | None) -> Give:
    """The likeliest `top_k` classes of each image, the likeliest first.

    Where an image has any number of labels: all classes unless `top_k` is given, and `labels`, those that are at least
    as probable as not.
    """

    def give(row: Row, predictions: Sequence[ImagePrediction]) -> list[dict[str, object]]:
        data = []
        known_Q = None if row.reference is None else row.reference.get("energy")
        for index, prediction in enumerate(predictions):
            p_K = prediction.probabilities
            shown = top_k or (len(p_K) if row.multi_label else TOP_K)
            top = [{"label": _label(row, k), "probability": p_K[k]} for k in _likeliest(p_K, shown)]
            present = _likeliest(p_K, int(np.count_nonzero(p_K >= PRESENT))) if row.multi_label else []
            several = {"labels": [_label(row, k) for k in present]} if row.multi_label else {}
            unusual = {} if known_Q is None or prediction.energy is None else _unusual(prediction.energy, known_Q)
            data.append({"index": index, **top[0], **several, **unusual, "top": top})
        return data

    return give


def _unusual(energy: float, known_Q: Sequence[float]) -> dict[str, object]:
    """The score of an image, and the share of the validation images whose score is lower."""
    return {"out_of_distribution": {"energy": energy, "quantile": quantile(energy, known_Q)}}


def quantile(value: float, known_Q: Sequence[float]) -> float:
    """The place of a value among evenly spaced quantiles, in ascending order, from 0 to 1, with lines between them."""
    place = bisect_left(known_Q, value)
    if place in (0, len(known_Q)):
        return float(place > 0)
    low, high = known_Q[place - 1], known_Q[place]
    return (place - 1 + (value - low) / (high - low)) / (len(known_Q) - 1)


def _label(row: Row, k: int) -> str:
    return row.classes[k] if row.classes else str(k)


def _likeliest(p_K: Floats, count: int) -> list[int]:
    """The classes of the greatest probabilities, the greatest first; of equal ones the first class first."""
    among: Iterable[int] = range(len(p_K))
    if count < len(p_K) > MANY:
        among = np.flatnonzero(p_K >= np.partition(p_K, -count)[-count]).tolist()
    return sorted(among, key=p_K.tolist().__getitem__, reverse=True)[:count]


def embedded(row: Row, predictions: Sequence[ImagePrediction]) -> list[dict[str, object]]:
    return [{"index": index, "embedding": prediction.features} for index, prediction in enumerate(predictions)]
