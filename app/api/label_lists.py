"""Lists of labels in requests: the id of an uploaded table, or pairs of image and label, which are stored as one."""

from collections.abc import Sequence
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


def once(sender: Sender, services: Services, given: str | Sequence[ImageLabel], act: Act) -> Response:
    """Answer with what `act` makes of a list of labels; see `Sender.once`."""
    if isinstance(given, str):
        return sender.once(lambda db: act(db, given, stated=False))
    content = orjson.dumps([entry.document() for entry in given])
    most = services.settings.max_owner_bytes
    with services.blobs.staging([content]) as staged:

        def stored(db: Session) -> BaseModel:
            file = files.create(db, sender.owner, filename="labels.json", blob=staged, most=most)
            return act(db, file.id, stated=True)

        return sender.once(stored)
