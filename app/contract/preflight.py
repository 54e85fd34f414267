"""Preflights: what a job takes, as a worker has measured it."""

from app.contract.inputs import InputSpec
from app.contract.record import Record


class MeasuredCost(Record):
    """The cost of a job, rehearsed on `device`; None where memory ran out before it could be told.

    `fits`: the batch fits in the memory of the worker, of which `available_bytes` were free; where it does not,
    `batch_size` is one that would.  `steps` are all optimiser steps, `step_seconds` the median of those timed.
    """

    device: str
    fits: bool
    seconds: float | None = None
    memory_bytes: int | None = None
    available_bytes: int
    batch_size: int | None = None
    input: InputSpec | None = None
    steps: int | None = None
    step_seconds: float | None = None
