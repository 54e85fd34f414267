"""A server on this machine: API and worker as child processes that start and stop together."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep, strftime
from types import FrameType
from typing import IO, Self

import httpx

from regraft.errors import RegraftError

MODULES = {"api": "app", "worker": "worker"}
MIGRATIONS = "migrations"
READY_S = 60.0
STOP_S = 45.0  # longer than a worker takes to snapshot and requeue
POLL_S = 0.1
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # before a half that ended is started again; doubled each time
STEADY_S = 60.0  # after so long a half that ends counts as one that ends for the first time
URL_FILE, KEY_FILE = "server.url", "admin.key"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ServerFailed(RegraftError):
    """One half did not start."""


class Server:
    """Migrates, starts both halves, and is usable once entered; leaving stops both and waits for them.

    A half that ends by itself is started again, after a pause that grows while it keeps ending; the other is left
    alone.  Output of the halves goes to `log`, or to our own standard error.
    """

    def __init__(self, home: Path, *, host: str = "127.0.0.1", port: int = 8000, log: IO[bytes] | None = None) -> None:
        self.home = home.resolve()
        self.host, self.port = host, port or free_port(host)
        self._log = log
        self._halves: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts = {half: _Restart() for half in MODULES}

    @property
    def url(self) -> str:
        """The URL at which the server answers from this machine."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"

    @property
    def key_file(self) -> Path:
        return self.home / KEY_FILE

    @property
    def environment(self) -> dict[str, str]:
        return environment(home=self.home, host=self.host, port=self.port)

    def start(self) -> None:
        """
        Raises:
            ServerFailed: a half ended, or the service was not ready in time; nothing is left running.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        migrate(self.environment, self._log)
        try:
            for half in MODULES:
                self._halves[half] = self._spawn(half)
            self._until_ready()
        except BaseException:  # an interrupt too must leave no process behind
            self.stop()
            raise
        (self.home / URL_FILE).write_text(self.url)

    def watch(self, wanted: Callable[[], bool]) -> None:
        """Keeps both halves running; returns once `wanted` is false."""
        while wanted():
            for half in MODULES:
                self._keep(half)
            sleep(POLL_S)

    def stop(self) -> None:
        """Asks both to stop, waits, and kills what will not; harmless when nothing runs."""
        (self.home / URL_FILE).unlink(missing_ok=True)
        for process in self._halves.values():
            process.terminate()
        deadline = monotonic() + STOP_S
        for process in self._halves.values():
            try:
                process.wait(max(0.0, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                self._kill(process)
            except BaseException:  # a second interrupt: at once, then
                self.kill()
                raise
        self._halves.clear()

    def kill(self) -> None:
        """Both halves with all their children, without a chance to tidy up; jobs go on at the next start."""
        for process in self._halves.values():
            self._kill(process)
        self._halves.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _spawn(self, half: str) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches us alone, and we stop both in order.
        return subprocess.Popen(
            python(MODULES[half]),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=_end_with_parent() if sys.platform == "linux" else None,
        )

    def _keep(self, half: str) -> None:
        restart, code = self._restarts[half], self._halves[half].poll()
        if code is None:
            return
        if restart.due_at is None:
            restart.plan()
            self._say(f"The {half} ended by itself ({_ending(code)}); it starts again in {restart.pause_s:g} s.")
        elif monotonic() >= restart.due_at:
            restart.begun()
            self._kill(self._halves[half])  # what it may have left of its group
            self._halves[half] = self._spawn(half)

    def _say(self, sentence: str) -> None:
        line = f"{strftime('%Y-%m-%d %H:%M:%S')} serve WARNING {sentence}\n".encode()
        log = self._log or sys.stderr.buffer
        log.write(line)
        log.flush()

    def _until_ready(self) -> None:
        deadline = monotonic() + READY_S
        with httpx.Client(base_url=self.url, timeout=5) as http:
            while not _ready(http):
                self._check()
                if monotonic() > deadline:
                    raise ServerFailed(f"The service was not ready within {READY_S:g} s.")
                sleep(POLL_S)

    def _check(self) -> None:
        for half, process in self._halves.items():
            if process.poll() is not None:
                raise ServerFailed(f"The {half} ended by itself ({_ending(process.returncode)}).")

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class _Restart:
    """A schedule by which a half that has ended is started again."""

    def __init__(self) -> None:
        self.pause_s = 0.0
        self.due_at: float | None = None
        self._began_at = monotonic()

    def plan(self) -> None:
        steady = monotonic() - self._began_at >= STEADY_S
        self.pause_s = FIRST_PAUSE_S if steady or not self.pause_s else min(LONGEST_PAUSE_S, 2 * self.pause_s)
        self.due_at = monotonic() + self.pause_s

    def begun(self) -> None:
        self.due_at, self._began_at = None, monotonic()


def migrate(environment: Mapping[str, str], log: IO[bytes] | None = None) -> None:
    """Brings the database to the newest schema.

    Raises:
        ServerFailed: the migrations did not end well; they have said why.
    """
    finished = subprocess.run(
        python(MIGRATIONS), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
    )
    if finished.returncode:
        raise ServerFailed(f"The migrations failed ({_ending(finished.returncode)}).")


def replace_by(module: str, environment: Mapping[str, str]) -> None:
    """Replace this process by one that runs `module`.

    Raises:
        ServerFailed: only the client is installed.
    """
    os.execve(sys.executable, python(module), dict(environment))


def python(module: str) -> list[str]:
    """The command that runs an installed module.

    Without `-P`, `python -m app` would import an `app` of the user's own, where one lies in the current directory.

    Raises:
        ServerFailed: only the client is installed.
    """
    if find_spec(module) is None:
        raise ServerFailed("Only the client is installed here; the server is `regraft[worker]`, or `regraft[api]`.")
    return [sys.executable, "-P", "-m", module]


def environment(*, home: Path | None = None, host: str | None = None, port: int | None = None) -> dict[str, str]:
    """Ours, with the settings that were given."""
    settings = {"REGRAFT_HOME": home and home.resolve(), "REGRAFT_HOST": host, "REGRAFT_PORT": port}
    return os.environ | {name: str(value) for name, value in settings.items() if value is not None}


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@contextmanager
def until_signalled() -> Iterator[Callable[[], bool]]:
    """Gives a function that is true until SIGINT or SIGTERM; the second of them interrupts whatever runs."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: not received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end_with_parent() -> Callable[[], None]:
    """A hook for a child before it starts: it gets SIGTERM if we die without stopping it, so that none is orphaned
    (prctl(2))."""
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # we died in between
            os._exit(1)

    return prepare
