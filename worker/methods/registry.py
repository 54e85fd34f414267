"""The functions behind the methods that a job can name; `app.methods.registry` has their parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from worker.methods.adabn import adabn
from worker.methods.adda import adda
from worker.methods.byol import byol
from worker.methods.cdan import cdan
from worker.methods.coral_dg import coral_dg
from worker.methods.dann import dann
from worker.methods.distil_ensemble import distil_ensemble
from worker.methods.erm import erm
from worker.methods.evaluate import evaluate
from worker.methods.feature_transfer import feature_transfer
from worker.methods.fine_tune import fine_tune
from worker.methods.group_dro import group_dro
from worker.methods.irm import irm
from worker.methods.knn import knn
from worker.methods.linear_probe import linear_probe
from worker.methods.logistic_regression import logistic_regression
from worker.methods.lora import lora
from worker.methods.lp_ft import lp_ft
from worker.methods.matching import coral, dan, jan, mcc
from worker.methods.mixstyle import mixstyle
from worker.methods.quantize import quantize
from worker.methods.random_forest import random_forest
from worker.methods.reg_mean import reg_mean
from worker.methods.ridge import ridge
from worker.methods.rotation import rotation
from worker.methods.rule_transfer import rule_transfer
from worker.methods.shot import shot
from worker.methods.simclr import simclr
from worker.methods.soup import soup
from worker.methods.structure_transfer import structure_transfer
from worker.methods.svm import svm
from worker.methods.task import Adapted, Task
from worker.methods.task_arithmetic import task_arithmetic
from worker.methods.tent import tent
from worker.methods.ties import ties
from worker.methods.train import train
from worker.methods.vicreg import vicreg
from worker.methods.vrex import vrex
from worker.methods.wise_ft import wise_ft

METHODS: Mapping[str, Callable[[Task, Any], Adapted]] = {
    "train": train,
    "evaluate": evaluate,
    "quantize": quantize,
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
    "simclr": simclr,
    "vicreg": vicreg,
    "byol": byol,
    "rotation": rotation,
    "erm": erm,
    "irm": irm,
    "vrex": vrex,
    "group_dro": group_dro,
    "coral_dg": coral_dg,
    "mixstyle": mixstyle,
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
    "soup": soup,
    "wise_ft": wise_ft,
    "task_arithmetic": task_arithmetic,
    "ties": ties,
    "reg_mean": reg_mean,
    "distil_ensemble": distil_ensemble,
}
