"""An estimate of what a job would come to, without queueing it: only figures that can be told without building the
network."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.jobs import planning
from app.jobs.planning import Plan, Request

BYTES_PER_WEIGHT = 4  # float32


@dataclass(frozen=True)
class Estimate:
    """Unknown figures are None.

    `images` of the training split would be seen, in `steps` optimiser steps over all epochs.  `weights_bytes` and
    `optimizer_bytes` are those of the source's network as it is stored, before its head is replaced.
    """

    plan: Plan
    waits_for: list[str]
    images: int | None
    steps: int | None
    parameters: int | None
    weights_bytes: int | None
    optimizer_bytes: int | None


def examine(db: Session, owner: str, request: Request) -> Estimate:
    """
    Raises:
        Invalid, NotFound, NotReady: see `planning.resolve`; what merely does not fit is listed in the plan's faults.
    """
    plan = planning.resolve(db, owner, request)
    images = _images(plan)
    parameters = None if plan.source is None else plan.source.parameters
    weights_bytes = None if parameters is None else parameters * BYTES_PER_WEIGHT
    return Estimate(
        plan=plan,
        waits_for=planning.waits_for(plan),
        images=images,
        steps=None if images is None else plan.method.steps(images),
        parameters=parameters,
        weights_bytes=weights_bytes,
        optimizer_bytes=None if weights_bytes is None else plan.method.optimizer_bytes(weights_bytes),
    )


def _images(plan: Plan) -> int | None:
    shown = planning.learnt(plan.method, plan.facts)
    return None if shown is None else plan.method.epoch_images(shown)
