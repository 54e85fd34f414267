"""Server-sent events, followed to the end of a job."""

from collections.abc import Callable, Iterator
from typing import Protocol

import httpx

from regraft import errors
from regraft.steps import Emit, Read, Sleep, Steps, Stream
from regraft.types import Event, Job
from regraft.wire import Request, Retry

SILENCE_S = 60.0  # the service sends a comment now and then: longer silence is a lost connection


class StreamSender(Protocol):
    def __call__(self, request: Request, *, streamed: bool = False) -> Steps[httpx.Response]: ...


def following(
    send: StreamSender, fetch: Callable[[], Steps[Job]], job: str, after: str | None, retry: Retry
) -> Stream[Event]:
    """Connects again, after the last event read, until the job has finished and was read to its end."""
    finished, failures = False, 0
    while True:
        decoder = Decoder()
        yield from send(_subscription(job, after), streamed=True)
        try:
            while piece := (yield Read()):
                for message in decoder.feed(piece):
                    event = Event.model_validate_json(message)
                    after, failures = str(event.seq), 0
                    yield Emit(event)
        except httpx.TransportError as error:
            failures += 1
            if failures >= retry.attempts:
                raise errors.Unreachable(f"events of {job}: {error}") from error
            yield Sleep(retry.pause(failures, None))
            continue
        if finished:
            return
        finished = (yield from fetch()).finished
        if not finished:
            yield Sleep(retry.first_s)


class Decoder:
    """Cuts a stream of bytes into the `data` of its messages; comments and other fields are passed over.

    Source: HTML living standard, 9.2.6 (one newline form, as this service sends it: LF).
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[str]:
        *blocks, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            lines = block.decode().split("\n")
            data = [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]
            if data:
                yield "\n".join(data)


def _subscription(job: str, after: str | None) -> Request:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    return Request("GET", f"/v1/jobs/{job}/events", repeatable=True, headers=headers, timeout=SILENCE_S)
