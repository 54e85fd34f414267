"""The R in L + λR: what a training method may minimise beside its loss on labels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from app.contract.base import Closed, Fraction, ObjectId, Text

Weight = Annotated[float, Field(ge=0, le=1e6)]
Temperature = Annotated[float, Field(gt=0, le=100)]
LayerPath = Annotated[Text, Field(min_length=1, max_length=256)]
Need = Literal["source", "source_head", "teacher"]


class Term(Closed):
    """`weight` is λ; `schedule` says how it goes over the run: constant, or from 0 to all of it within the first `ramp`
    of the run, or down to 0 along half a cosine."""

    weight: Weight
    schedule: Literal["constant", "ramp", "cosine"] = "constant"
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.3

    def factor(self, progress: float) -> float:
        """Of `weight`, where `progress` of the run is behind."""
        if self.schedule == "ramp":
            return min(1.0, progress / self.ramp)
        return 0.5 * (1 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0


class L2Sp(Term):
    """½‖w − w₀‖² over what came from the source, and `head` · ½‖w‖² over what is new."""

    name: Literal["l2_sp"] = "l2_sp"
    weight: Weight = 0.01
    head: Weight = 1.0


class Delta(Term):
    """Squared distance of the outputs of `layers` from the source's on the same images, per place, mean over images,
    and `head` · ½‖w‖² over what is new.

    Every channel counts alike: the paper's variant without attention.  `layers` are paths of modules; left out, the
    ends of the last two stages.
    """

    name: Literal["delta"] = "delta"
    weight: Weight = 0.01
    head: Weight = 1.0
    layers: Annotated[list[LayerPath], Field(min_length=1, max_length=16)] | None = None


class Bss(Term):
    """Batch spectral shrinkage: the sum of the `k` smallest squared singular values of a batch's features."""

    name: Literal["bss"] = "bss"
    weight: Weight = 0.001
    k: Annotated[int, Field(ge=1, le=64)] = 1


class CoTuning(Term):
    """The source's head learns on, too: what it says of an image is to be what it said of the image's class, of mixed
    images the mixture of both."""

    name: Literal["co_tuning"] = "co_tuning"
    weight: Weight = 2.3


class _Taught(Term):
    """`teacher` is a stored checkpoint or model; left out, the source."""

    teacher: ObjectId | None = None


class Distillation(_Taught):
    """T² · KL(teacher/T ‖ student/T) over the classes that they share by name; L on labels counts `label_weight`."""

    name: Literal["distillation"] = "distillation"
    weight: Weight = 0.9
    label_weight: Fraction = 0.1
    temperature: Temperature = 4.0


class FeatureHint(_Taught):
    """Mean squared distance of the output of `layer`, through a learned 1×1 map, from that of `teacher_layer`.

    Left out, each is the end of the last stage.
    """

    name: Literal["feature_hint"] = "feature_hint"
    weight: Weight = 1.0
    layer: LayerPath | None = None
    teacher_layer: LayerPath | None = None


class AttentionTransfer(_Taught):
    """Squared distance of the normalised attention maps (channels' mean square) of the last `stages` stages."""

    name: Literal["attention_transfer"] = "attention_transfer"
    weight: Weight = 10.0
    stages: Annotated[int, Field(ge=1, le=16)] = 3


class Lwf(Term):
    """T² · KL between what the source says, and what its head says on what becomes of its backbone.

    The default is 4 as published, over T² = 9, which the published loss does not have.
    """

    name: Literal["lwf"] = "lwf"
    weight: Weight = 4 / 9
    temperature: Temperature = 3.0


AnyTerm = Annotated[
    L2Sp | Delta | Bss | CoTuning | Distillation | FeatureHint | AttentionTransfer | Lwf, Field(discriminator="name")
]
Terms = Annotated[list[AnyTerm], Field(max_length=8)]


@dataclass(frozen=True)
class TermInfo:
    """What a term needs, and where it comes from.

    `softmax`: it takes the classes to exclude each other, in what it is taught by and what it teaches.
    """

    needs: tuple[Need, ...]
    reference: str
    softmax: bool = False


TERMS: Mapping[str, TermInfo] = {
    "l2_sp": TermInfo(("source",), "Li, Grandvalet & Davoine 2018, Explicit inductive bias for transfer learning"),
    "delta": TermInfo(
        ("source",),
        "Li et al. 2019, DELTA: deep learning transfer using feature map with attention (without the attention)",
    ),
    "bss": TermInfo((), "Chen et al. 2019, Catastrophic forgetting meets negative transfer"),
    "co_tuning": TermInfo(("source", "source_head"), "You et al. 2020, Co-Tuning for transfer learning", softmax=True),
    "distillation": TermInfo(
        ("teacher",), "Hinton, Vinyals & Dean 2015, Distilling the knowledge in a neural network", softmax=True
    ),
    "feature_hint": TermInfo(("teacher",), "Romero et al. 2015, FitNets: hints for thin deep nets"),
    "attention_transfer": TermInfo(("teacher",), "Zagoruyko & Komodakis 2017, Paying more attention to attention"),
    "lwf": TermInfo(("source", "source_head"), "Li & Hoiem 2017, Learning without forgetting", softmax=True),
}
NO_DECAY = frozenset({"l2_sp", "delta"})  # they take the place of weight decay, which pulls to 0 instead of to w₀


def kinds() -> list[type[Term]]:
    """The parameter classes of all terms."""
    return list(get_args(get_args(AnyTerm)[0]))


def teachers(terms: list[AnyTerm]) -> dict[str, str]:
    """Teachers that are named, by the path of the parameter that names them."""
    named = ((f"terms.{i}.teacher", getattr(term, "teacher", None)) for i, term in enumerate(terms))
    return {param: teacher for param, teacher in named if teacher is not None}
