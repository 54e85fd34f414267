"""Lists of labels in requests: the id of an uploaded table, or pairs of image and label, which are stored as one."""

from collections.abc import Callable, Sequence
from typing import Protocol

import orjson
from fastapi import Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.api.dependencies import Sender
from app.api.schemas.datasets import ImageLabel
from app.api.services import Services
from app.files import service as files


class Act(Protocol):
    """The effect of the list in the file `labels`; `stated`: it is JSON of the request."""

    def __call__(self, db: Session, labels: str, *, stated: bool) -> BaseModel: ...


Send = Callable[[Callable[[Session], BaseModel]], Response]  # `Sender.once` or `Sender.queues`


def answer(
    sender: Sender, services: Services, given: str | Sequence[ImageLabel], act: Act, send: Send | None = None
) -> Response:
    """Answer with what `act` makes of a list of labels, by `send`, which is `Sender.once` unless given."""
    send = send or sender.once
    if isinstance(given, str):
        return send(lambda db: act(db, given, stated=False))
    content = orjson.dumps([entry.document() for entry in given])
    most = services.settings.max_owner_bytes
    with services.blobs.staging([content]) as staged:

        def stored(db: Session) -> BaseModel:
            file = files.create(db, sender.owner, filename="labels.json", blob=staged, most=most)
            return act(db, file.id, stated=True)

        return send(stored)
