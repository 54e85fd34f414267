"""The functions behind the methods that a job can name; `app.methods.registry` has their parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from worker.methods.distil_ensemble import distil_ensemble
from worker.methods.evaluate import evaluate
from worker.methods.feature_transfer import feature_transfer
from worker.methods.fine_tune import fine_tune
from worker.methods.linear_probe import linear_probe
from worker.methods.lora import lora
from worker.methods.lp_ft import lp_ft
from worker.methods.reg_mean import reg_mean
from worker.methods.rule_transfer import rule_transfer
from worker.methods.soup import soup
from worker.methods.structure_transfer import structure_transfer
from worker.methods.task import Adapted, Task
from worker.methods.task_arithmetic import task_arithmetic
from worker.methods.ties import ties
from worker.methods.train import train
from worker.methods.wise_ft import wise_ft

METHODS: Mapping[str, Callable[[Task, Any], Adapted]] = {
    "train": train,
    "evaluate": evaluate,
    "fine_tune": fine_tune,
    "linear_probe": linear_probe,
    "lp_ft": lp_ft,
    "lora": lora,
    "rule_transfer": rule_transfer,
    "feature_transfer": feature_transfer,
    "structure_transfer": structure_transfer,
    "soup": soup,
    "wise_ft": wise_ft,
    "task_arithmetic": task_arithmetic,
    "ties": ties,
    "reg_mean": reg_mean,
    "distil_ensemble": distil_ensemble,
}
