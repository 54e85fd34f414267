"""The methods that a job can name: parameters, needs, and when each is the right choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from app.methods.base import Parameters
from app.methods.evaluate import Evaluate
from app.methods.feature_transfer import FeatureTransfer
from app.methods.fine_tune import FineTune
from app.methods.knn import Knn
from app.methods.linear_probe import LinearProbe
from app.methods.logistic_regression import LogisticRegression
from app.methods.lora import Lora
from app.methods.lp_ft import LpFt
from app.methods.random_forest import RandomForest
from app.methods.ridge import Ridge
from app.methods.rule_transfer import RuleTransfer
from app.methods.structure_transfer import StructureTransfer
from app.methods.svm import Svm
from app.methods.train import Train

Need = Literal["checkpoint", "target_labels", "source_data", "teacher"]
Method = Annotated[
    Train
    | Evaluate
    | FineTune
    | LinearProbe
    | LpFt
    | Lora
    | RuleTransfer
    | FeatureTransfer
    | StructureTransfer
    | Svm
    | LogisticRegression
    | Ridge
    | Knn
    | RandomForest,
    Field(discriminator="name"),
]


@dataclass(frozen=True)
class MethodInfo:
    """One line of `GET /v1/methods`.  `multi_label`: it learns from images with any number of labels, too."""

    params: type[Parameters]
    summary: str
    needs: tuple[Need, ...]
    when: str
    reference: str
    gives_model: bool = True
    multi_label: bool = False

    @property
    def name(self) -> str:
        return str(self.params.model_fields["name"].default)


_INFOS = (
    MethodInfo(
        Train,
        "Train a network from scratch.",
        ("target_labels",),
        "There is no source worth transferring from, or a baseline is wanted beside a transfer.",
        "LeCun et al. 1998, Gradient-based learning applied to document recognition",
        multi_label=True,
    ),
    MethodInfo(
        Evaluate,
        "Measure a checkpoint unchanged on a dataset.",
        ("checkpoint", "target_labels"),
        "First of all: what does the source already do on the target?",
        "Guo et al. 2017, On calibration of modern neural networks (calibration error)",
        gives_model=False,
        multi_label=True,
    ),
    MethodInfo(
        FineTune,
        "Continue training from the source's weights, with a new head where the classes differ.",
        ("checkpoint", "target_labels"),
        "The default with some tens of labels a class or more, or where the domains differ in texture or scale.",
        "Yosinski et al. 2014, How transferable are features in deep neural networks?",
        multi_label=True,
    ),
    MethodInfo(
        LinearProbe,
        "Train a new linear head on the source's frozen features.",
        ("checkpoint", "target_labels"),
        "Very few labels, or a source so near that its features already separate the target's classes.",
        "Alain & Bengio 2017, Understanding intermediate layers using linear classifier probes",
        multi_label=True,
    ),
    MethodInfo(
        LpFt,
        "A linear probe first, then all weights from there.",
        ("checkpoint", "target_labels"),
        "Good features and few labels, or images that will also come from elsewhere: tuning alone bends the features.",
        "Kumar et al. 2022, Fine-tuning can distort pretrained features and underperform out-of-distribution",
        multi_label=True,
    ),
    MethodInfo(
        Lora,
        "Low-rank corrections of frozen weights, and a new head.",
        ("checkpoint", "target_labels"),
        "A large source for many targets: an adapter of a few per cent of its size is kept for each.",
        "Hu et al. 2022, LoRA: low-rank adaptation of large language models",
        multi_label=True,
    ),
    MethodInfo(
        RuleTransfer,
        "Train a network on the target by the rule that the source was trained by, and say whether the rule helps.",
        ("checkpoint", "target_labels"),
        "The source's training is worth more than its weights: its augmentation holds for the target's images too.",
        "Cubuk et al. 2019, AutoAugment, section 4.4 (augmentation policies transfer between datasets)",
        multi_label=True,
    ),
    MethodInfo(
        FeatureTransfer,
        "Stages of the source in a network of the same or another architecture, the rest new.",
        ("checkpoint", "target_labels"),
        "The target wants another network, or only the source's early features are general enough for it.",
        "Yosinski et al. 2014, How transferable are features in deep neural networks?",
        multi_label=True,
    ),
    MethodInfo(
        StructureTransfer,
        "The source's whole architecture, with its weights or newly drawn, for other classes and other images.",
        ("checkpoint", "target_labels"),
        "The target's images are grey where the source's were coloured, or of another size.",
        "He, Girshick & Dollár 2019, Rethinking ImageNet pre-training",
        multi_label=True,
    ),
    MethodInfo(
        Svm,
        "A support vector machine, linear or RBF, on the source's frozen features.",
        ("checkpoint", "target_labels"),
        "Some tens to some thousands of labels, and a boundary between the classes that is not linear.",
        "Cortes & Vapnik 1995, Support-vector networks",
    ),
    MethodInfo(
        LogisticRegression,
        "A linear softmax on the source's frozen features, fitted to convergence.",
        ("checkpoint", "target_labels"),
        "As for `linear_probe`, with nothing to tune but one penalty, which the validation split chooses.",
        "Donahue et al. 2014, DeCAF: a deep convolutional activation feature for generic visual recognition",
    ),
    MethodInfo(
        Ridge,
        "Least squares on the source's frozen features.",
        ("checkpoint", "target_labels"),
        "A linear head within a second, however many the classes; features that go together do not upset it.",
        "Hoerl & Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems",
    ),
    MethodInfo(
        Knn,
        "The nearest training images by the source's frozen features vote.",
        ("checkpoint", "target_labels"),
        "A handful of labels, classes of several clusters each, or answers that point to their examples.",
        "Cover & Hart 1967, Nearest neighbor pattern classification",
    ),
    MethodInfo(
        RandomForest,
        "A random forest on the source's frozen features.",
        ("checkpoint", "target_labels"),
        "Few features that matter among many, of different scales; hardly anything to tune.",
        "Breiman 2001, Random forests",
    ),
)

METHODS: dict[str, MethodInfo] = {info.name: info for info in _INFOS}

_METHOD: TypeAdapter[Method] = TypeAdapter(Method)


def parse(document: Mapping[str, Any]) -> Method:
    """The parameters that a stored document holds."""
    return _METHOD.validate_python(document)
