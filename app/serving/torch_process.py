"""A PyTorch process beside the API, for what ONNX graphs cannot do: networks that adapt, and networks on a GPU."""

import importlib.util
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from app.core import errors

MODULE = "worker.torch_server"


class DoesNotFit(Exception):
    """The process says why the network cannot do what was asked of it."""


class TorchProcess:
    """Started when it is first needed, and again when it has died; safe to be called from many threads."""

    def __init__(self, *, device: str, threads: int) -> None:
        self._device, self._threads = device, threads
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._turn = threading.Lock()

    def ask(self, verb: str, *args: Any) -> Any:
        """The answer of the process.

        Raises:
            DoesNotFit: see there.
            NotInstalled: this server has no PyTorch.
            Unavailable: the process died of it, with all that it held.
        """
        with self._turn:
            connection = self._open()
            try:
                connection.send((verb, *args))
                verdict, answer = connection.recv()
            except (EOFError, OSError) as error:
                self._end()
                message = "The process that was to answer died; what it had adapted is lost."
                raise errors.Unavailable(message, retry_after_s=1) from error
        if verdict == "does_not_fit":
            raise DoesNotFit(answer)
        if verdict != "done":
            raise RuntimeError(f"{MODULE}: {answer}")
        return answer

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        with self._turn:
            self._end()

    def _open(self) -> Connection:
        """The living process's, which is started if there is none."""
        if self.alive and self._connection is not None:
            return self._connection
        if importlib.util.find_spec("torch") is None:
            raise errors.NotInstalled("This server was installed without PyTorch, which this needs.")
        self._end()
        ours, theirs = socket.socketpair()
        # -P: a `worker` folder in the current directory is somebody else's.
        command = [sys.executable, "-P", "-m", MODULE, str(theirs.fileno()), self._device, str(self._threads)]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._connection = Connection(ours.detach())
        return self._connection

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None
