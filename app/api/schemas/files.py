"""Files, and uploads that become one."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from app.api.schemas.common import Object
from app.contract.base import LARGEST_NUMBER, StrictModel, Text
from app.db.tables import FileRow as Row
from app.files.repository import Received


class File(Object):
    """Any bytes, stored under their digest."""

    object: Literal["file"] = "file"
    filename: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls.model_validate(row)


class NewUpload(StrictModel):
    """`bytes` and `sha256`, where given, are checked when the upload is completed.  More bytes than this server takes
    of a file are refused with 413."""

    filename: Annotated[Text, Field(max_length=4096)] = ""
    bytes: Annotated[int, Field(ge=0, le=LARGEST_NUMBER)] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class Upload(Object):
    """`parts` were received, `received_bytes` in all; `file` is what it became."""

    object: Literal["upload"] = "upload"
    filename: str
    bytes: int | None
    sha256: str | None
    expires_at: datetime
    parts: int
    received_bytes: int
    file: str | None

    @classmethod
    def of(cls, received: Received) -> Self:
        row = received.upload
        return cls(
            id=row.id,
            created_at=row.created_at,
            filename=row.filename,
            bytes=row.bytes,
            sha256=row.sha256,
            expires_at=row.expires_at,
            parts=len(received.parts),
            received_bytes=received.bytes,
            file=row.file,
        )
