"""The methods that a job can name: parameters, needs, and when each is the right choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from app.methods.adabn import AdaBn
from app.methods.adda import Adda
from app.methods.base import Parameters
from app.methods.cdan import Cdan
from app.methods.coral import Coral
from app.methods.dan import Dan
from app.methods.dann import Dann
from app.methods.evaluate import Evaluate
from app.methods.feature_transfer import FeatureTransfer
from app.methods.fine_tune import FineTune
from app.methods.jan import Jan
from app.methods.linear_probe import LinearProbe
from app.methods.lora import Lora
from app.methods.lp_ft import LpFt
from app.methods.mcc import Mcc
from app.methods.shot import Shot
from app.methods.structure_transfer import StructureTransfer
from app.methods.tent import Tent
from app.methods.train import Train

Need = Literal["checkpoint", "target_labels", "source_data", "teacher"]
Method = Annotated[
    Train
    | Evaluate
    | FineTune
    | LinearProbe
    | LpFt
    | Lora
    | FeatureTransfer
    | StructureTransfer
    | Dann
    | Cdan
    | Dan
    | Jan
    | Coral
    | Mcc
    | Adda
    | Shot
    | AdaBn
    | Tent,
    Field(discriminator="name"),
]


@dataclass(frozen=True)
class MethodInfo:
    """One line of `GET /v1/methods`."""

    params: type[Parameters]
    summary: str
    needs: tuple[Need, ...]
    when: str
    reference: str
    gives_model: bool = True

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
    ),
    MethodInfo(
        Evaluate,
        "Measure a checkpoint unchanged on a dataset.",
        ("checkpoint", "target_labels"),
        "First of all: what does the source already do on the target?",
        "Guo et al. 2017, On calibration of modern neural networks (calibration error)",
        gives_model=False,
    ),
    MethodInfo(
        FineTune,
        "Continue training from the source's weights, with a new head where the classes differ.",
        ("checkpoint", "target_labels"),
        "The default with some tens of labels a class or more, or where the domains differ in texture or scale.",
        "Yosinski et al. 2014, How transferable are features in deep neural networks?",
    ),
    MethodInfo(
        LinearProbe,
        "Train a new linear head on the source's frozen features.",
        ("checkpoint", "target_labels"),
        "Very few labels, or a source so near that its features already separate the target's classes.",
        "Alain & Bengio 2017, Understanding intermediate layers using linear classifier probes",
    ),
    MethodInfo(
        LpFt,
        "A linear probe first, then all weights from there.",
        ("checkpoint", "target_labels"),
        "Good features and few labels, or images that will also come from elsewhere: tuning alone bends the features.",
        "Kumar et al. 2022, Fine-tuning can distort pretrained features and underperform out-of-distribution",
    ),
    MethodInfo(
        Lora,
        "Low-rank corrections of frozen weights, and a new head.",
        ("checkpoint", "target_labels"),
        "A large source for many targets: an adapter of a few per cent of its size is kept for each.",
        "Hu et al. 2022, LoRA: low-rank adaptation of large language models",
    ),
    MethodInfo(
        FeatureTransfer,
        "Stages of the source in a network of the same or another architecture, the rest new.",
        ("checkpoint", "target_labels"),
        "The target wants another network, or only the source's early features are general enough for it.",
        "Yosinski et al. 2014, How transferable are features in deep neural networks?",
    ),
    MethodInfo(
        StructureTransfer,
        "The source's whole architecture, with its weights or newly drawn, for other classes and other images.",
        ("checkpoint", "target_labels"),
        "The target's images are grey where the source's were coloured, or of another size.",
        "He, Girshick & Dollár 2019, Rethinking ImageNet pre-training",
    ),
    MethodInfo(
        Dann,
        "Features by which a discriminator cannot tell labelled source from unlabelled target.",
        ("checkpoint", "source_data"),
        "No target labels, the source's images at hand, and classes about as frequent in both domains.",
        "Ganin et al. 2016, Domain-adversarial training of neural networks",
    ),
    MethodInfo(
        Cdan,
        "The same with a discriminator that sees features and predictions together.",
        ("checkpoint", "source_data"),
        "As `dann`, where the source's predictions on the target are mostly right already.",
        "Long et al. 2018, Conditional adversarial domain adaptation",
    ),
    MethodInfo(
        Dan,
        "Features of the same distribution in both domains, by MMD under several kernels.",
        ("checkpoint", "source_data"),
        "As `dann`, where a game of two players is not to be trusted: nothing adversarial, nothing that learns beside.",
        "Long et al. 2015, Learning transferable features with deep adaptation networks",
    ),
    MethodInfo(
        Jan,
        "Features and predictions of the same joint distribution in both domains, by joint MMD.",
        ("checkpoint", "source_data"),
        "As `dan`, where classes lie apart already.",
        "Long et al. 2017, Deep transfer learning with joint adaptation networks",
    ),
    MethodInfo(
        Coral,
        "Features of the same covariance in both domains.",
        ("checkpoint", "source_data"),
        "A near target and a method that can hardly go wrong.",
        "Sun & Saenko 2016, Deep CORAL: correlation alignment for deep domain adaptation",
    ),
    MethodInfo(
        Mcc,
        "Predictions on the target that do not confuse classes.",
        ("checkpoint", "source_data"),
        "The domains' classes are not equally frequent, or some are missing in the target: nothing aligns the domains.",
        "Jin et al. 2020, Minimum class confusion for versatile domain adaptation",
    ),
    MethodInfo(
        Adda,
        "An encoder of the target's own whose features pass for the source's, under the source's head.",
        ("checkpoint", "source_data"),
        "The domains look too different for one encoder.",
        "Tzeng et al. 2017, Adversarial discriminative domain adaptation",
    ),
    MethodInfo(
        Shot,
        "Adapt the backbone to images without labels, under the source's frozen head.",
        ("checkpoint",),
        "The target has no labels, the same classes, each about as often, and the source's data cannot be had.",
        "Liang, Hu & Feng 2020, Do we really need to access the source data?",
    ),
    MethodInfo(
        AdaBn,
        "Estimate batch norm's statistics again on images without labels; nothing is trained.",
        ("checkpoint",),
        "The target differs in contrast, brightness or noise, and an answer is wanted in seconds.",
        "Li et al. 2018, Adaptive batch normalization for practical domain adaptation",
    ),
    MethodInfo(
        Tent,
        "Make the predictions on images without labels surer, by batch norm's scales and shifts alone.",
        ("checkpoint",),
        "The source is nearly right on the target, and nearly all of its weights are to stay as they are.",
        "Wang et al. 2021, Tent: fully test-time adaptation by entropy minimization",
    ),
)

METHODS: dict[str, MethodInfo] = {info.name: info for info in _INFOS}

_METHOD: TypeAdapter[Method] = TypeAdapter(Method)


def parse(document: Mapping[str, Any]) -> Method:
    """The parameters that a stored document holds."""
    return _METHOD.validate_python(document)
