"""The functions behind the terms that a method can name; `app.methods.terms.family` has their parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from worker.terms import attention_transfer, bss, co_tuning, delta, distillation, feature_hint, l2_sp, lwf
from worker.terms.base import Setting, Term

TERMS: Mapping[str, Callable[[Any, Setting], Term]] = {
    "l2_sp": l2_sp.build,
    "delta": delta.build,
    "bss": bss.build,
    "co_tuning": co_tuning.build,
    "distillation": distillation.build,
    "feature_hint": feature_hint.build,
    "attention_transfer": attention_transfer.build,
    "lwf": lwf.build,
}
