"""Tasks as children of a warm fork-server on this machine (docs/adr/0006)."""

import multiprocessing
import os
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from app.contract.record import Record
from worker.executors.base import Crashed
from worker.runtime.contract import Command, Event, Failure, Spec

PRELOAD = "worker.executors.preload"


def _warm() -> None:
    from worker.executors import child  # in the child: the supervisor imports no torch

    child.warm()


def _main(connection: Connection, spec: Spec[Record]) -> None:
    from worker.executors import child

    child.main(connection, spec)


class LocalAttempt:
    def __init__(self, process: ForkServerProcess, connection: Connection, running: set[int]) -> None:
        """`running`: the processes of all tasks under way; this one's is among them until it was killed."""
        self._process, self._connection, self._running = process, connection, running
        self._pid = process.pid or 0
        running.add(self._pid)

    def next(self, timeout_s: float) -> Event | None:
        try:
            if not self._connection.poll(timeout_s):
                return None
            message = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            if self._process.exitcode == -signal.SIGXCPU:
                message = "Reading the file took more processor time than a file of its size may: is it crafted?"
                raise Failure("cpu_time_exceeded", message) from None
            raise Crashed(_ending(self._process.exitcode)) from None
        if isinstance(message, Exception):
            raise message
        event: Event = message
        return event

    def order(self, command: Command) -> None:
        with suppress(OSError):  # it has ended: `next` tells how
            self._connection.send(command)

    def kill(self) -> None:
        _kill_group(self._pid)
        self._process.kill()  # it may have died before it had a group
        self._process.join()
        self._running.discard(self._pid)
        self._connection.close()


class LocalExecutor:
    """Belongs to a process that imports no torch; the fork-server imports it once and lends every child all of it."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOAD])
        self._running: set[int] = set()

    def warm(self) -> None:
        process = self._context.Process(target=_warm, daemon=True)
        process.start()
        process.join()

    @property
    def idle(self) -> bool:
        return not self._running

    def start(self, spec: Spec[Record]) -> LocalAttempt:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_main, args=(theirs, spec), daemon=False)
        process.start()
        theirs.close()
        return LocalAttempt(process, ours, self._running)

    def kill(self) -> None:
        """End all tasks, with all their processes, now.  It waits for nothing and may be called by a signal handler."""
        for pid in tuple(self._running):
            _kill_group(pid)

    def close(self) -> None:
        """The fork-server ends with this process."""


def _kill_group(pid: int) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (often: memory ran out)" if -code == signal.SIGKILL else ""
        return f"The process that ran it was killed by {name}{hint}."
    return f"The process that ran it ended with exit code {code}."
