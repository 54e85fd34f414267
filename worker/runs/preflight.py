"""The cost of a job, measured by a rehearsal: the method itself, of whose steps only a few are made."""

import math
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch

from app.contract.inputs import InputSpec
from app.contract.preflight import MeasuredCost
from app.contract.results import LearnedResult
from app.contract.specs import RunSpec
from app.methods.base import Method
from worker.runs import run_job
from worker.runtime import device, memory
from worker.runtime.contract import Channel, Command, Event, Note, Progress, Result, Spec
from worker.runtime.rehearsal import Rehearsal
from worker.training import accumulation


def run(spec: Spec[RunSpec[Method]], channel: Channel) -> Result[MeasuredCost]:
    """Rehearse a job, on no features that others have kept; where its batch does not fit, on smaller ones until one
    does.

    Raises:
        Failure, Interrupted: from the method.
    """
    on = device.resolve(spec.device)
    before = 0 if on.type == "cuda" else memory.resident()
    available = memory.available(on, spec.job_bytes)
    spec = replace(spec, cache=None, snapshot=None, snapshot_every_s=math.inf)
    asked = size = getattr(spec.payload.method, "batch_size", None)
    while True:
        rehearsed = _rehearse(spec, channel, on)
        if rehearsed is not None or size is None or size <= accumulation.SMALLEST:
            break
        size = max(accumulation.SMALLEST, size // 2)
        channel.emit(Note("batch_too_large", f"Memory ran out: it is tried with batches of {size}.", "warning"))
        device.give_back_memory()
        memory.forget_peak(on)
        method = spec.payload.method.model_copy(update={"batch_size": size})
        spec = replace(spec, payload=spec.payload.model_copy(update={"method": method}))
    if rehearsed is None:
        return Result(MeasuredCost(device=_name(on), fits=False, available_bytes=available))
    smaller = rehearsed.micro_batch_size or (size if size != asked else None)
    return Result(
        MeasuredCost(
            device=_name(on),
            fits=smaller is None,
            seconds=rehearsed.seconds,
            memory_bytes=max(0, memory.peak(on) - before),
            available_bytes=available,
            batch_size=smaller,
            input=rehearsed.input,
            steps=rehearsed.steps,
            step_seconds=rehearsed.step_seconds,
        )
    )


@dataclass(frozen=True)
class _Rehearsed:
    seconds: float
    input: InputSpec
    steps: int
    step_seconds: float | None
    micro_batch_size: int | None


def _rehearse(spec: Spec[RunSpec[Method]], channel: Channel, on: torch.device) -> _Rehearsed | None:
    """Run the job, its files with it; None where memory ran out."""
    rehearsal = Rehearsal(partial(torch.cuda.synchronize, on) if on.type == "cuda" else lambda: None)
    audience = _Audience(channel)
    try:
        measured = run_job.learn(spec, audience, rehearsal)
        if isinstance(measured.outcome, LearnedResult):
            run_job.packaged(measured, spec.workdir)
    except (MemoryError, RuntimeError) as error:
        if not accumulation.ran_out(error):
            raise
        return None
    step_seconds = median(rehearsal.step_s) if rehearsal.step_s else None
    input = measured.adapted.classifier.input
    return _Rehearsed(rehearsal.seconds, input, audience.steps, step_seconds, audience.micro_batch_size)


class _Audience:
    """Hears what a rehearsal says of itself, and passes nothing on: it is not the job."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.steps = 0
        self.micro_batch_size: int | None = None

    def emit(self, event: Event) -> None:
        match event:
            case Progress(total_steps=total):
                self.steps = max(self.steps, total)
            case Note(type="batch_split", data=data):
                self.micro_batch_size = data["micro_batch_size"]

    def command(self) -> Command | None:
        return self._channel.command()


def _name(on: torch.device) -> str:
    return torch.cuda.get_device_name(on) if on.type == "cuda" else "cpu"
