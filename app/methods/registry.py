"""The methods that a job can name: parameters, needs, and when each is the right choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from app.methods.base import Parameters
from app.methods.distil_ensemble import DistilEnsemble
from app.methods.evaluate import Evaluate
from app.methods.feature_transfer import FeatureTransfer
from app.methods.fine_tune import FineTune
from app.methods.linear_probe import LinearProbe
from app.methods.lora import Lora
from app.methods.lp_ft import LpFt
from app.methods.reg_mean import RegMean
from app.methods.rule_transfer import RuleTransfer
from app.methods.soup import Soup
from app.methods.structure_transfer import StructureTransfer
from app.methods.task_arithmetic import TaskArithmetic
from app.methods.ties import Ties
from app.methods.train import Train
from app.methods.wise_ft import WiseFt

Need = Literal["checkpoint", "target_labels", "source_data", "teacher", "sources"]
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
    | Soup
    | WiseFt
    | TaskArithmetic
    | Ties
    | RegMean
    | DistilEnsemble,
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
        RuleTransfer,
        "Train a network on the target by the rule that the source was trained by, and say whether the rule helps.",
        ("checkpoint", "target_labels"),
        "The source's training is worth more than its weights: its augmentation holds for the target's images too.",
        "Cubuk et al. 2019, AutoAugment, section 4.4 (augmentation policies transfer between datasets)",
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
        Soup,
        "The mean of several tuned networks' weights, greedily chosen or of all.",
        ("checkpoint", "sources"),
        "Several tunings of one source on one task are there, with other seeds or settings: better than to keep one.",
        "Wortsman et al. 2022, Model soups",
    ),
    MethodInfo(
        WiseFt,
        "Weights between the unchanged source and a tuned network.",
        ("checkpoint", "sources"),
        "The tuned network forgot too much of the source, or is to see images like the source's, too.",
        "Wortsman et al. 2022, Robust fine-tuning of zero-shot models",
    ),
    MethodInfo(
        TaskArithmetic,
        "The source's weights and the sum of what several tunings changed.",
        ("checkpoint", "sources"),
        "Tunings of one source on different data are to become one network that can do all of it.",
        "Ilharco et al. 2023, Editing models with task arithmetic",
    ),
    MethodInfo(
        Ties,
        "The same, without small changes, and where signs differ with the weightier one alone.",
        ("checkpoint", "sources"),
        "As task_arithmetic, where tunings disagree.",
        "Yadav et al. 2023, TIES-merging: resolving interference when merging models",
    ),
    MethodInfo(
        RegMean,
        "Layers that come nearest to what each tuned network's give of the same images, in closed form.",
        ("checkpoint", "sources"),
        "Tunings of one source on different data, and images of the target without labels.",
        "Jin et al. 2023, Dataless knowledge fusion by merging weights of language models",
    ),
    MethodInfo(
        DistilEnsemble,
        "A student that learns what several teachers of any architectures and classes say of the target's images.",
        ("checkpoint", "teacher"),
        "Networks whose weights cannot be merged are to become one; labels are not needed.",
        "Vongkulbhisal et al. 2019, Unifying heterogeneous classifiers with distillation",
    ),
)

METHODS: dict[str, MethodInfo] = {info.name: info for info in _INFOS}

_METHOD: TypeAdapter[Method] = TypeAdapter(Method)


def parse(document: Mapping[str, Any]) -> Method:
    """The parameters that a stored document holds."""
    return _METHOD.validate_python(document)
