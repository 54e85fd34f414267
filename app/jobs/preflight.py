"""What a job would come to, without queueing it: only figures that can be told without building the network."""

import math
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.status import Readiness
from app.jobs import planning
from app.jobs.planning import Plan, Request
from app.methods.supervised.fine_tune import FineTune
from app.methods.training import Loop, Training
from app.methods.transfer.rule_transfer import RuleTransfer

BYTES_PER_WEIGHT = 4  # float32


@dataclass(frozen=True)
class Preflight:
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


def examine(db: Session, owner: str, request: Request) -> Preflight:
    """
    Raises:
        Invalid, NotFound, NotReady: see `planning.draw`; what merely does not fit is listed in the plan's faults.
    """
    plan = planning.draw(db, owner, request)
    images = _images(plan)
    parameters = None if plan.source is None else plan.source.parameters
    weights_bytes = None if parameters is None else parameters * BYTES_PER_WEIGHT
    return Preflight(
        plan=plan,
        waits_for=_waits_for(plan),
        images=images,
        steps=_steps(plan, images),
        parameters=parameters,
        weights_bytes=weights_bytes,
        optimizer_bytes=_optimizer_bytes(plan, weights_bytes),
    )


def _waits_for(plan: Plan) -> list[str]:
    source = plan.source
    waiting = [one.id for one in (source, *plan.teachers.values()) if one and one.readiness is Readiness.PROCESSING]
    datasets = (plan.target, plan.source_dataset, *plan.environments.values())
    return waiting + [dataset.id for dataset in datasets if dataset is not None and dataset.splits is None]


def _images(plan: Plan) -> int | None:
    shown = planning.learnt(plan.method, plan.target, plan.source_dataset, plan.environments)
    if not isinstance(plan.method, Loop) or shown is None or shown.splits is None:
        return None
    count = planning.train_count(plan.method, shown)
    if count is None or not isinstance(plan.method, Training):
        return count
    return min(count, plan.method.train_size or count)


def _steps(plan: Plan, images: int | None) -> int | None:
    method = plan.method
    if not isinstance(method, Loop) or images is None or method.epochs is None or method.batch_size is None:
        return None
    runs = 2 if isinstance(method, RuleTransfer) and method.ablation else 1
    return runs * method.epochs * math.ceil(images / method.batch_size)


def _optimizer_bytes(plan: Plan, weights_bytes: int | None) -> int | None:
    """State beside the weights when all of them learn: one number a weight for momentum, two for AdamW."""
    method = plan.method
    if not isinstance(method, FineTune) or method.trainable != "all" or weights_bytes is None:
        return None
    if method.optimizer == "adamw":
        return 2 * weights_bytes
    return weights_bytes if method.momentum else 0
