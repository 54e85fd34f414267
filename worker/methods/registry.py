"""The functions behind the methods that a job can name; `app.methods.registry` has their parameters."""

from collections.abc import Callable, Mapping
from typing import Any

from worker.methods.classical.knn import knn
from worker.methods.classical.logistic_regression import logistic_regression
from worker.methods.classical.random_forest import random_forest
from worker.methods.classical.ridge import ridge
from worker.methods.classical.svm import svm
from worker.methods.cross_domain.adda import adda
from worker.methods.cross_domain.cdan import cdan
from worker.methods.cross_domain.dann import dann
from worker.methods.cross_domain.matching import coral, dan, jan, mcc
from worker.methods.fusion.distil_ensemble import distil_ensemble
from worker.methods.fusion.reg_mean import reg_mean
from worker.methods.fusion.soup import soup
from worker.methods.fusion.task_arithmetic import task_arithmetic
from worker.methods.fusion.ties import ties
from worker.methods.fusion.wise_ft import wise_ft
from worker.methods.generalisation.coral_dg import coral_dg
from worker.methods.generalisation.erm import erm
from worker.methods.generalisation.group_dro import group_dro
from worker.methods.generalisation.irm import irm
from worker.methods.generalisation.mixstyle import mixstyle
from worker.methods.generalisation.vrex import vrex
from worker.methods.self_supervised.byol import byol
from worker.methods.self_supervised.rotation import rotation
from worker.methods.self_supervised.simclr import simclr
from worker.methods.self_supervised.vicreg import vicreg
from worker.methods.source_free.adabn import adabn
from worker.methods.source_free.shot import shot
from worker.methods.source_free.tent import tent
from worker.methods.supervised.fine_tune import fine_tune
from worker.methods.supervised.linear_probe import linear_probe
from worker.methods.supervised.lora import lora
from worker.methods.supervised.lp_ft import lp_ft
from worker.methods.supervised.train import train
from worker.methods.task import Adapted, Task
from worker.methods.transfer.feature_transfer import feature_transfer
from worker.methods.transfer.rule_transfer import rule_transfer
from worker.methods.transfer.structure_transfer import structure_transfer
from worker.methods.utilities.evaluate import evaluate
from worker.methods.utilities.quantize import quantize

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
