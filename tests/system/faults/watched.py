"""A service under `prlimit`, and what an attack on it may cost others: time and memory."""

import io
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from PIL import Image

from tests import databases
from tests.app.api import server as servers
from tests.app.api.server import Api
from tests.app.api.world import World, bar
from tests.system.faults.bystander import Bystander

ROOM = 1024 * 2**20  # bytes, above what a service has when nobody asks for anything but the bystander
WITHIN_S = 1.0  # each answer
TIMES = 4  # as long as on a service that nobody attacks
LEAST = 0.05  # of all processors, is left to us by others
PICTURE_SIDE = 200  # too large to be decoded by the event loop: it has to wait its turn among those of the attacker


@contextmanager
def used(folder: Path, **settings: str) -> Iterator[tuple[Api, Bystander]]:
    """A server, and an owner with a job and a small model who asks for both all the time."""
    (folder / "database").mkdir()
    with (
        databases.opened("sqlite", folder / "database") as opened,
        servers.serving(folder / "home", opened.migrated(), **settings) as api,
    ):
        world = World(api, "bystander", folder)
        job = world.finished_job()
        buffer = io.BytesIO()
        Image.fromarray(bar("top")).resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.NEAREST).save(buffer, "PNG")
        key = world.client.headers["Authorization"].removeprefix("Bearer ")
        world.close()
        bystander = Bystander(api.url, key, job["id"], job["model"], buffer.getvalue(), folder)
        try:
            yield api, bystander
        finally:
            bystander.close()


class Watched:
    """Processes under `prlimit`, each with `ROOM` above what it has now, whoever uses them, and `control`, who uses in
    the same way a service that nobody attacks."""

    def __init__(self, pids: Sequence[int], user: Bystander, control: Bystander) -> None:
        self.user, self.control = user, control
        self._processes = [psutil.Process(pid) for pid in pids]
        self._idle = self._size()
        self._limits = {each.pid: each.memory_info().data + ROOM for each in self._all()}
        for pid, most in self._limits.items():
            resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))

    @contextmanager
    def attacked(self) -> Iterator[None]:
        """Whatever is done within: every answer that the user gets meanwhile is right and there within `WITHIN_S`, and
        all processes together stay within `ROOM` of what they were.

        A machine that is shared may be slow by itself.  So the time is that of a machine of one's own: where other
        programs take three quarters of all processors, it is four times as long.  And an answer may take four times as
        long as the slowest of a service that nobody attacks, asked for in the same way at the same time.
        """
        for pid, most in self._limits.items():
            assert resource.prlimit(pid, resource.RLIMIT_DATA) == (most, most)
        over, sizes = threading.Event(), [0]

        def look() -> None:
            while not over.wait(0.05):
                sizes.append(self._size())

        with ThreadPoolExecutor(1) as pool:
            looking, begun, others = pool.submit(look), time.monotonic(), _by_others()
            try:
                yield
            finally:
                ended = time.monotonic()
                try:
                    answers = self.user.answers(begun, ended)
                finally:
                    over.set()
            looking.result(60)
        taken = (_by_others() - others) / (psutil.cpu_count() * (time.monotonic() - begun))
        usual = max(one.took_s for one in self.control.answers(begun, ended))
        most_s = max(WITHIN_S / max(LEAST, 1 - taken), TIMES * usual)
        refused = [one for one in answers if one.fault]
        late = [one for one in answers if one.took_s >= most_s]
        assert not refused, refused
        assert not late, f"{late}: more than {most_s:.2f} s; answers of another service took {usual:.2f} s at the most"
        assert max(sizes) - self._idle < ROOM, f"{max(sizes):,} bytes, {self._idle:,} when idle"
        assert all(process.is_running() for process in self._processes)

    def _all(self) -> list[psutil.Process]:
        return [one for each in self._processes for one in [each, *each.children(recursive=True)]]

    def _size(self) -> int:
        """Of all processes together, in bytes; what several share counts once."""
        size = 0
        for one in self._all():
            with suppress(psutil.NoSuchProcess):
                size += one.memory_full_info().pss
        return size


def _by_others() -> float:
    """Seconds that processors have spent on other programs than this process and those that it has started."""
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice  # guests count as users, too
    this = psutil.Process()
    for one in [this, *this.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            busy -= sum(one.cpu_times()[:4])  # with those of children that have ended
    return float(busy)
