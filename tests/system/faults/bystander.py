"""Somebody who uses a service, as one does, while somebody else attacks it, and writes down how long each answer took.

Run as a program it is that user; `Bystander` starts it, and reads what it writes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx

PAUSE_S = 0.05
WAIT_S = 200.0
FEWEST = 6  # answers: two of each kind


class Answer(NamedTuple):
    kind: str
    begun: float  # time.monotonic()
    took_s: float
    fault: str


def ask(url: str, key: str, job: str, model: str, picture: str, out: str) -> None:
    """Until whoever started this is gone.  Each request comes over a connection of its own."""
    image, parent = Path(picture).read_bytes(), os.getppid()
    path = f"/v1/models/{model}/predictions"
    fresh = httpx.Limits(max_keepalive_connections=0)
    with (
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120, limits=fresh) as client,
        Path(out).open("w", buffering=1) as answers,
    ):
        kinds: dict[str, Callable[[], httpx.Response]] = {
            "poll": lambda: client.get(f"/v1/jobs/{job}"),
            "image": lambda: client.post(path, content=image, headers={"Content-Type": "image/png"}),
            "form": lambda: client.post(path, files=[("images", ("a.png", image))]),
        }
        while os.getppid() == parent:
            for kind, request in kinds.items():
                begun = time.monotonic()
                try:
                    response = request()
                    fault = "" if response.status_code == 200 else f"{response.status_code} {response.text}"
                    if kind != "poll" and not fault and response.json()["data"][0]["label"] != "top":
                        fault = response.text
                except httpx.HTTPError as error:
                    fault = repr(error)
                print(json.dumps([kind, begun, time.monotonic() - begun, fault]), file=answers)
                time.sleep(PAUSE_S)


class Bystander:
    """Polls `job`, and has `model` answer for an image, alone and in a form, in a process of its own."""

    def __init__(self, url: str, key: str, job: str, model: str, image: bytes, folder: Path) -> None:
        self._out, picture = folder / "answers", folder / "picture.png"
        picture.write_bytes(image)
        command = [sys.executable, __file__, url, key, job, model, str(picture), str(self._out)]
        self._process = subprocess.Popen(command)
        self.answers(0.0, 0.0)

    def answers(self, begun: float, ended: float) -> list[Answer]:
        """To all that was asked between the two times, or waited for then; the next ones, too, if these are few."""
        deadline = time.monotonic() + WAIT_S
        while True:
            assert time.monotonic() < deadline, "the bystander hears nothing"
            assert self._process.poll() is None, "the bystander is gone"
            found = [one for one in self._answers() if one.begun + one.took_s > begun]
            if len(found) > FEWEST and found[-1].begun >= ended:
                return [one for number, one in enumerate(found) if one.begun < ended or number < FEWEST]
            time.sleep(PAUSE_S)

    def _answers(self) -> list[Answer]:
        with suppress(FileNotFoundError):
            whole = self._out.read_text().rpartition("\n")[0]
            return [Answer(*json.loads(line)) for line in whole.splitlines()]
        return []

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)


if __name__ == "__main__":
    ask(*sys.argv[1:])
