"""The functions behind the methods that a job can name; `app.methods.registry` has their parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from worker.methods.evaluate import evaluate
from worker.methods.feature_transfer import feature_transfer
from worker.methods.fine_tune import fine_tune
from worker.methods.knn import knn
from worker.methods.linear_probe import linear_probe
from worker.methods.logistic_regression import logistic_regression
from worker.methods.lora import lora
from worker.methods.lp_ft import lp_ft
from worker.methods.random_forest import random_forest
from worker.methods.ridge import ridge
from worker.methods.rule_transfer import rule_transfer
from worker.methods.structure_transfer import structure_transfer
from worker.methods.svm import svm
from worker.methods.task import Adapted, Task
from worker.methods.train import train

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
    "svm": svm,
    "logistic_regression": logistic_regression,
    "ridge": ridge,
    "knn": knn,
    "random_forest": random_forest,
}
