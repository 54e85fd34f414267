"""The functions behind the methods that a job can name; `app.methods.registry` has their parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from worker.methods.adabn import adabn
from worker.methods.adda import adda
from worker.methods.cdan import cdan
from worker.methods.dann import dann
from worker.methods.evaluate import evaluate
from worker.methods.feature_transfer import feature_transfer
from worker.methods.fine_tune import fine_tune
from worker.methods.linear_probe import linear_probe
from worker.methods.lora import lora
from worker.methods.lp_ft import lp_ft
from worker.methods.matching import coral, dan, jan, mcc
from worker.methods.shot import shot
from worker.methods.structure_transfer import structure_transfer
from worker.methods.task import Adapted, Task
from worker.methods.tent import tent
from worker.methods.train import train

METHODS: Mapping[str, Callable[[Task, Any], Adapted]] = {
    "train": train,
    "evaluate": evaluate,
    "fine_tune": fine_tune,
    "linear_probe": linear_probe,
    "lp_ft": lp_ft,
    "lora": lora,
    "feature_transfer": feature_transfer,
    "structure_transfer": structure_transfer,
    "shot": shot,
    "adabn": adabn,
    "tent": tent,
    "dann": dann,
    "cdan": cdan,
    "dan": dan,
    "jan": jan,
    "coral": coral,
    "mcc": mcc,
    "adda": adda,
}
