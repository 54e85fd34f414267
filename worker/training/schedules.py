"""Schedules of the learning rate, as functions of the optimiser step."""

import math
from collections.abc import Callable
from typing import Literal

Factor = Callable[[int], float]


def factor(kind: Literal["cosine", "step", "constant"], total_steps: int, warmup_steps: int = 0) -> Factor:
    """Factor of the learning rate at optimiser step 0 … `total_steps` − 1.

    Linear warm-up, 1/w … 1 over the first w steps; then half a cosine to nearly 0 (Loshchilov & Hutter 2017),
    or × 0.1 at one half and at three quarters of what remains, or 1.
    """

    def at(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        if kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if kind == "step":
            return 0.1 ** ((done >= 0.5) + (done >= 0.75))
        return 1.0

    return at
