"""The methods that a job can name: parameters, needs, and when each is the right choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from app.methods.base import Parameters
from app.methods.classical.knn import Knn
from app.methods.classical.logistic_regression import LogisticRegression
from app.methods.classical.random_forest import RandomForest
from app.methods.classical.ridge import Ridge
from app.methods.classical.svm import Svm
from app.methods.cross_domain.adda import Adda
from app.methods.cross_domain.cdan import Cdan
from app.methods.cross_domain.coral import Coral
from app.methods.cross_domain.dan import Dan
from app.methods.cross_domain.dann import Dann
from app.methods.cross_domain.jan import Jan
from app.methods.cross_domain.mcc import Mcc
from app.methods.fusion.distil_ensemble import DistilEnsemble
from app.methods.fusion.reg_mean import RegMean
from app.methods.fusion.soup import Soup
from app.methods.fusion.task_arithmetic import TaskArithmetic
from app.methods.fusion.ties import Ties
from app.methods.fusion.wise_ft import WiseFt
from app.methods.generalisation.coral_dg import CoralDg
from app.methods.generalisation.erm import Erm
from app.methods.generalisation.group_dro import GroupDro
from app.methods.generalisation.irm import Irm
from app.methods.generalisation.mixstyle import MixStyle
from app.methods.generalisation.vrex import Vrex
from app.methods.self_supervised.byol import Byol
from app.methods.self_supervised.rotation import Rotation
from app.methods.self_supervised.simclr import SimClr
from app.methods.self_supervised.vicreg import VicReg
from app.methods.source_free.adabn import AdaBn
from app.methods.source_free.shot import Shot
from app.methods.source_free.tent import Tent
from app.methods.supervised.fine_tune import FineTune
from app.methods.supervised.linear_probe import LinearProbe
from app.methods.supervised.lora import Lora
from app.methods.supervised.lp_ft import LpFt
from app.methods.supervised.train import Train
from app.methods.transfer.feature_transfer import FeatureTransfer
from app.methods.transfer.rule_transfer import RuleTransfer
from app.methods.transfer.structure_transfer import StructureTransfer
from app.methods.utilities.evaluate import Evaluate
from app.methods.utilities.quantize import Quantize

Need = Literal["checkpoint", "target_labels", "source_data", "teacher", "environments", "sources"]
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
    | RandomForest
    | SimClr
    | VicReg
    | Byol
    | Rotation
    | Erm
    | Irm
    | Vrex
    | GroupDro
    | CoralDg
    | MixStyle
    | Dann
    | Cdan
    | Dan
    | Jan
    | Coral
    | Mcc
    | Adda
    | Soup
    | WiseFt
    | TaskArithmetic
    | Ties
    | RegMean
    | DistilEnsemble
    | Shot
    | AdaBn
    | Tent
    | Quantize,
    Field(discriminator="name"),
]


@dataclass(frozen=True)
class MethodInfo:
    """One line of `GET /v1/methods`.

    `takes`: what it can use, or do without.  `multi_label`: it learns from images with any number of labels, too.
    """

    params: type[Parameters]
    summary: str
    needs: tuple[Need, ...]
    when: str
    reference: str
    gives_model: bool = True
    multi_label: bool = False
    takes: tuple[Need, ...] = ()

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
        Quantize,
        "Serve a model in eight bits, if it loses no more than it may.",
        ("checkpoint", "target_labels"),
        "Predictions are to be faster, and a little less exact.",
        "Jacob et al. 2018, Quantization and training of neural networks for integer-arithmetic-only inference",
        gives_model=False,
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
    MethodInfo(
        SimClr,
        "Features from images alone: the two views of an image know each other among all of the batch.",
        (),
        "Many images without labels, batches of some hundred; the result is a source for any transfer.",
        "Chen et al. 2020, A simple framework for contrastive learning of visual representations",
        takes=("checkpoint",),
    ),
    MethodInfo(
        VicReg,
        "Features from images alone: two views alike, no dimension constant, no two dimensions alike.",
        (),
        "As `simclr`, where batches are smaller or several images may show the same.",
        "Bardes, Ponce & LeCun 2022, VICReg: variance-invariance-covariance regularization",
        takes=("checkpoint",),
    ),
    MethodInfo(
        Byol,
        "Features from images alone: one view foretells what an averaged copy of the network makes of the other.",
        (),
        "As `simclr`, without pushing images apart: where many of a batch show the same.",
        "Grill et al. 2020, Bootstrap your own latent",
        takes=("checkpoint",),
    ),
    MethodInfo(
        Rotation,
        "Features from images alone: by which quarter turn an image was turned.",
        (),
        "Images with an upright, and little time: it needs no large batches.",
        "Gidaris, Singh & Komodakis 2018, Unsupervised representation learning by predicting image rotations",
        takes=("checkpoint",),
    ),
    MethodInfo(
        Erm,
        "Several labelled datasets together, for images that are like none of them.",
        ("environments",),
        "The baseline of the next four, and often as good as they are.",
        "Gulrajani & Lopez-Paz 2021, In search of lost domain generalization",
        takes=("checkpoint",),
    ),
    MethodInfo(
        Irm,
        "Features on which one classifier is the best in every environment at once.",
        ("environments",),
        "What agrees with the label in the environments may not do so elsewhere, and does not agree equally in them.",
        "Arjovsky et al. 2019, Invariant risk minimization",
        takes=("checkpoint",),
    ),
    MethodInfo(
        Vrex,
        "A network that is as good in one environment as in the other.",
        ("environments",),
        "As `irm`, and steadier; the environments' labels are equally noisy.",
        "Krueger et al. 2021, Out-of-distribution generalization via risk extrapolation",
        takes=("checkpoint",),
    ),
    MethodInfo(
        GroupDro,
        "The environments that go worst weigh most.",
        ("environments",),
        "The target may be like the hardest of the environments.",
        "Sagawa et al. 2020, Distributionally robust neural networks for group shifts",
        takes=("checkpoint",),
    ),
    MethodInfo(
        CoralDg,
        "Features of the same means and covariances in every environment.",
        ("environments",),
        "The environments differ in how they look, not in how frequent the classes are.",
        "Sun & Saenko 2016, Deep CORAL; Gulrajani & Lopez-Paz 2021, In search of lost domain generalization",
        takes=("checkpoint",),
    ),
    MethodInfo(
        MixStyle,
        "The style of one image's feature maps on another's.",
        ("environments",),
        "The environments differ in style: colour, contrast, texture; the network is convolutional.",
        "Zhou et al. 2021, Domain generalization with MixStyle",
        takes=("checkpoint",),
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
