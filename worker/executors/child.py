"""A task's own process, from its birth in the fork-server to its last event."""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch

from app.contract.record import Record
from app.contract.results import Catalogue, Renewed
from app.contract.specs import CheckpointIngest, RenewSignatures
from worker.executors import confinement, kernel
from worker.executors.base import Crashed
from worker.ingest import checkpoint, dataset, disk, identification, revision
from worker.networks import catalogue, renewal
from worker.runs import preflight, recommend, run_job
from worker.runtime import device, memory
from worker.runtime.contract import Channel, Command, Event, Failure, Interrupted, Result, Retry, Spec
from worker.training import accumulation

Task = Callable[[Spec[Any], Channel], Result[Record]]
HAS_TIME = 10  # the niceness of what nobody waits for


def _renew_signatures(spec: Spec[RenewSignatures], channel: Channel) -> Result[Renewed]:
    os.nice(HAS_TIME)
    if spec.signatures is None:
        raise Failure("does_not_fit", "There is no folder for signatures.")
    return Result(Renewed(complete=renewal.renew(spec.signatures)))


TASKS: Mapping[str, Task] = {
    "ingest_checkpoint": checkpoint.ingest,
    "ingest_dataset": dataset.ingest,
    "revise_dataset": revision.revise,
    "identify": identification.identify,
    "run": run_job.run,
    "signatures": _renew_signatures,
    "recommend": recommend.run,
    "preflight": preflight.run,
    "catalogue": lambda spec, channel: Result(Catalogue(entries=[dict(entry) for entry in catalogue.entries()])),
}
ADVICE = {"run": "lower `batch_size`", "recommend": "ask for fewer `images`"}  # where memory ran out


class PipeChannel:
    """Events go up the pipe, a command comes down it; a pipe that closes means that the supervisor has died."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._command: Command | None = None
        threading.Thread(target=self._listen, name="commands", daemon=True).start()

    def emit(self, event: Event) -> None:
        self._connection.send(event)

    def command(self) -> Command | None:
        return self._command

    def end(self, error: Exception) -> None:
        self._connection.send(error)

    def _listen(self) -> None:
        try:
            while True:
                self._command = self._connection.recv()
        except (EOFError, OSError):
            os._exit(1)


def warm() -> None:
    """The first child of a fork-server: it ends at once, and its end says that the imports are done."""


def main(connection: Connection, spec: Spec[Record]) -> None:
    _be_alone()
    if spec.memory_bytes is not None:
        _confine(spec, spec.memory_bytes)
    _bound(spec)
    channel = PipeChannel(connection)
    try:
        device.keep_memory()
        channel.emit(TASKS[spec.kind](spec, channel))
    except (Failure, Retry, Interrupted) as error:
        channel.end(error)
    except (MemoryError, torch.OutOfMemoryError) as error:
        channel.end(out_of_memory(spec, str(error)))
    except Exception as error:  # noqa: BLE001  # whatever it is, the supervisor must hear of it
        if isinstance(error, OSError) and error.errno in disk.FULL:
            channel.end(disk.full("what the step writes"))
            return
        if accumulation.ran_out(error):
            channel.end(out_of_memory(spec, str(error)))
            return
        traceback.print_exc()
        channel.end(Crashed(f"{type(error).__name__}: {error}"))


def out_of_memory(spec: Spec[Record], reason: str) -> Failure:
    advice = ADVICE.get(spec.kind, "the file needs more memory than ingest may take")
    return Failure("out_of_memory", f"Memory ran out ({reason.splitlines()[0] if reason else spec.kind}): {advice}.")


def _be_alone() -> None:
    """A process group of our own, so that all of it can be killed; and an end with the fork-server's."""
    kernel.end_with_parent()
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Locks that libraries make (PyTorch's exporter has a progress bar with one) are to vanish with us: those of the
    # fork-server's method have a name until they are tidied up, for which a task that is killed has no time.
    multiprocessing.set_start_method("fork", force=True)


def _bound(spec: Spec[Record]) -> None:
    """Have a job run out of memory, where it may take no more, and its rehearsal in any case: else all that is on the
    machine would."""
    if spec.kind == "run" and spec.job_bytes is not None:
        memory.bound(spec.job_bytes)
    if spec.kind == "preflight" and (on := device.resolve(spec.device)).type == "cpu":
        memory.bound(memory.available(on, spec.job_bytes))


def _confine(spec: Spec[Record], memory_bytes: int) -> None:
    """Published weights are fetched here, and nothing that a user sent is read for them."""
    network = isinstance(spec.payload, CheckpointIngest) and spec.payload.pretrained is not None
    try:
        confinement.confine(spec.workdir, spec.inputs.values(), memory_bytes, network=network)
    except OSError as error:  # the worker has said so at its start, unless the kernel changed its mind
        print(f"{spec.subject} is read without a filter of system calls: {error}", file=sys.stderr)
