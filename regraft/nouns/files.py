"""Files: any bytes, stored under their digest."""

from functools import partial
from pathlib import Path

from regraft.folders import Folder
from regraft.nouns.base import D, Noun, once
from regraft.nouns.uploads import Sender, in_parts, packed_in_parts
from regraft.steps import Do, Steps, Stream, call, items
from regraft.types import File
from regraft.wire import Body, Progress, Request

UPLOAD_TIMEOUT_S = 300.0
PART_BYTES = 64 * 1024 * 1024


Source = Path | str | bytes | Folder


class Files(Noun[D]):
    @call
    def upload(
        self,
        source: Source,
        *,
        filename: str | None = None,
        progress: Progress | None = None,
        part_bytes: int = PART_BYTES,
    ) -> Steps[File]:
        """Streams a file (or sends bytes).  One that is larger than `part_bytes` goes in parts of that size, each sent
        again by itself when the connection breaks; so does a folder, packed on the way (`Folder`)."""
        return (yield from uploaded(self._send, source, filename, progress, part_bytes))

    @call
    def get(self, file: str) -> Steps[File]:
        return (yield from self._fetch(f"/v1/files/{file}", File))

    @items
    def list(self, *, order: str = "desc", page_size: int = 100) -> Stream[File]:
        """All files, page after page."""
        yield from self._pages("/v1/files", File, {"order": order}, page_size)

    @call
    def delete(self, file: str, *, cascade: bool = False) -> Steps[None]:
        yield from self._delete(f"/v1/files/{file}", cascade=cascade)


def uploaded(
    send: Sender,
    source: Source,
    filename: str | None = None,
    progress: Progress | None = None,
    part_bytes: int = PART_BYTES,
) -> Steps[File]:
    """The file that bytes, a file or a folder become.

    Raises:
        OSError, ValueError: there is nothing there.
    """
    if isinstance(source, bytes):
        return (yield from _whole(send, source, filename or "data"))
    if isinstance(source, Folder) or Path(source).is_dir():
        folder = source if isinstance(source, Folder) else (yield Do(partial(Folder.listed, Path(source))))
        return (yield from packed_in_parts(send, folder, filename or folder.filename, part_bytes, progress))
    path = Path(source)
    size = path.stat().st_size
    if size > part_bytes:
        return (yield from in_parts(send, path, filename or path.name, part_bytes, progress))
    return (yield from _whole(send, Body(path, 0, size, progress), filename or path.name))


def _whole(send: Sender, content: Body | bytes, filename: str) -> Steps[File]:
    length = content.length if isinstance(content, Body) else len(content)
    request = Request(
        "POST",
        "/v1/files",
        repeatable=True,
        params={"filename": filename},
        headers={"Content-Type": "application/octet-stream", "Content-Length": str(length)} | once(),
        content=content,
        timeout=UPLOAD_TIMEOUT_S,
    )
    response = yield from send(request)
    return File.model_validate_json(response.content)
