"""multipart/form-data as it arrives: no part is ever held as a whole, nor written to a file of its own."""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import NamedTuple

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core import errors

MEDIA_TYPE = "multipart/form-data"
MAX_PARTS = 1000
MAX_BOUNDARY = 70  # RFC 2046, section 5.1.1
MAX_HEADER_BYTES = 8 * 1024


class Part(NamedTuple):
    """`number` counts from 0."""

    number: int
    name: str
    filename: str


Piece = tuple[Part, bytes]


async def pieces(request: Request, body: AsyncIterable[bytes]) -> AsyncIterator[Piece]:
    """Read a multipart form: what arrives of each part, in order; of an empty part an empty piece.

    Raises:
        BadRequest: it is no such form, was cut short, or has more than `MAX_PARTS` parts.
    """
    _, options = parse_options_header(request.headers.get("Content-Type", ""))
    if b"boundary" not in options:
        raise errors.BadRequest("The form's Content-Type has no boundary.")
    if not 1 <= len(options[b"boundary"]) <= MAX_BOUNDARY:
        raise errors.BadRequest(f"The form's boundary is to have 1 to {MAX_BOUNDARY} characters.")
    reader = _Reader(options[b"boundary"])
    async for chunk in body:
        reader.feed(chunk)
        while reader.pieces:
            yield reader.pieces.popleft()
    if not reader.ended:
        raise errors.BadRequest("The form was cut short.")


class _Reader:
    """Turns the parser's callbacks into a queue of pieces."""

    def __init__(self, boundary: bytes) -> None:
        self.pieces: deque[Piece] = deque()
        self.ended = False
        self._number = -1
        self._part = Part(0, "", "")
        self._room = 0
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise errors.BadRequest(f"The form cannot be read: {error}.") from None

    def _begin(self) -> None:
        self._number += 1
        if self._number == MAX_PARTS:
            raise errors.BadRequest(f"The form has more than {MAX_PARTS:,} parts.")
        self._headers, self._room = {}, MAX_HEADER_BYTES

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += self._within_room(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._within_room(data[start:end])

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name, filename = (options.get(key, b"").decode(errors="replace") for key in (b"name", b"filename"))
        self._part = Part(self._number, name, filename)
        self.pieces.append((self._part, b""))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.pieces.append((self._part, data[start:end]))

    def _end(self) -> None:
        self.ended = True

    def _within_room(self, piece: bytes) -> bytes:
        self._room -= len(piece)
        if self._room < 0:
            raise errors.BadRequest("A part of the form has headers without end.")
        return piece
