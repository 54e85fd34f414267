"""Networks that adapt to the images that they are asked about, in a PyTorch process of their own."""

import asyncio
import importlib.util
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np

from app.core import errors
from app.db import tables
from app.imaging.images import Pixels
from app.methods import grafted
from app.serving.predictor import Prediction

MODULE = "worker.streams"
WAITING = 64  # requests; beyond, they are refused


@dataclass(frozen=True)
class Adaptable:
    """What is to adapt, by the name of its object."""

    name: str
    document: dict[str, Any]  # network and input contract
    weights: str

    @classmethod
    def of(cls, row: tables.Servable, name: str) -> Self:
        """
        Raises:
            NotAdaptable: predictions of this kind have no entropy that could be lowered.
        """
        if row.network["name"] == grafted.NAME:
            raise errors.NotAdaptable("Its head was fitted on features, and is not moved by gradients.")
        if row.multi_label:
            raise errors.NotAdaptable("An image may have any number of its classes: the entropy is of one choice.")
        assert row.weights is not None
        return cls(name, {"network": row.network, "input": row.input}, row.weights)


@dataclass(frozen=True)
class Adaptation:
    """See `worker.streams.tent.Told`."""

    steps: int = 0
    images: int = 0
    entropy: float | None = None
    waiting: int = 0
    collapses: int = 0


class Streams:
    """One process for all, started when it is first needed; if it dies, every network begins anew.

    `path` gives the local file of a content address.
    """

    def __init__(self, path: Callable[[str], Path], *, device: str, threads: int) -> None:
        self._path = path
        self._command = [sys.executable, "-m", MODULE]
        self._device, self._threads = device, threads
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._turn = ThreadPoolExecutor(1, thread_name_prefix="streams")  # batches come one after another in any case
        self._waiting = 0

    async def predict(self, what: Adaptable, pixels: list[Pixels]) -> tuple[list[Prediction], Adaptation]:
        """Predictions for images as the network takes them, in order, and where its adaptation stands after them.

        Raises:
            NotAdaptable: it has no batch norm.
            NotInstalled: this server has no PyTorch.
            Overloaded, Unavailable: too many are waiting; the process died of it, and what had adapted is lost.
        """
        path = await asyncio.to_thread(self._path, what.weights)
        answer = await self._ask("predict", what.name, what.document, path, np.stack(pixels))
        probabilities_NK, features_ND, told = answer
        return list(map(Prediction, probabilities_NK, features_ND)), Adaptation(**told)

    async def told(self, name: str) -> Adaptation:
        """Where the adaptation of the object stands; at its beginning where nothing is known of it."""
        told = await self._ask("tell", name) if self._alive() else None
        return Adaptation(**(told or {}))

    async def reset(self, name: str) -> None:
        """Back to what is stored."""
        if self._alive():
            await self._ask("reset", name)

    async def close(self) -> None:
        self._turn.shutdown(cancel_futures=True)
        self._end()

    async def _ask(self, *message: Any) -> Any:
        if self._waiting >= WAITING:
            raise errors.Overloaded(retry_after_s=1)
        self._waiting += 1
        try:
            verdict, answer = await asyncio.get_running_loop().run_in_executor(self._turn, self._exchange, message)
        finally:
            self._waiting -= 1
        if verdict == "does_not_fit":
            raise errors.NotAdaptable(answer)
        if verdict != "done":
            raise RuntimeError(f"{MODULE}: {answer}")
        return answer

    def _exchange(self, message: tuple[Any, ...]) -> tuple[str, Any]:
        connection = self._open()
        try:
            connection.send(message)
            verdict, answer = connection.recv()
        except (EOFError, OSError) as error:
            self._end()
            raise errors.Unavailable("What had adapted is lost; it begins anew.", retry_after_s=1) from error
        return verdict, answer

    def _open(self) -> Connection:
        """The living process's, which is started if there is none."""
        if self._alive() and self._connection is not None:
            return self._connection
        if importlib.util.find_spec("torch") is None:
            raise errors.NotInstalled("This server was installed without PyTorch, which adaptation needs.")
        self._end()
        ours, theirs = socket.socketpair()
        command = [*self._command, str(theirs.fileno()), self._device, str(self._threads)]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._connection = Connection(ours.detach())
        return self._connection

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None
