"""The methods that a job can name: parameters, needs, and when each is the right choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from app.methods.evaluate import Evaluate
from app.methods.fine_tune import FineTune
from app.methods.linear_probe import LinearProbe
from app.methods.train import Train

Need = Literal["checkpoint", "target_labels", "source_data", "teacher"]
Method = Annotated[Train | Evaluate | FineTune | LinearProbe, Field(discriminator="name")]


@dataclass(frozen=True)
class MethodInfo:
    """One line of `GET /v1/methods`."""

    params: type[Train] | type[Evaluate] | type[FineTune] | type[LinearProbe]
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
)

METHODS: dict[str, MethodInfo] = {info.name: info for info in _INFOS}

_METHOD: TypeAdapter[Method] = TypeAdapter(Method)


def parse(document: Mapping[str, Any]) -> Method:
    """The parameters that a stored document holds."""
    return _METHOD.validate_python(document)
