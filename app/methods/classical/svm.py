"""`svm`: a support vector machine on frozen features."""

from typing import Literal, Self

from pydantic import model_validator

from app.contract.base import NULL, either
from app.methods.base import Info
from app.methods.classical.family import OnFeatures, Strength


class Svm(OnFeatures):
    """One machine a class against the rest; the greatest decision wins.

    `C` is the price of an example on the wrong side, `gamma` that of exp(−γ‖x − s‖²), the kernel `rbf`.  Probabilities
    are a softmax of the decisions over a temperature that is fitted on the validation split, so they agree with the
    decisions.
    """

    info = Info(
        summary="A support vector machine, linear or RBF, on the source's frozen features.",
        when="Some tens to some thousands of labels, and a boundary between the classes that is not linear.",
        needs=("checkpoint", "target_labels"),
        reference="Cortes & Vapnik 1995, Support-vector networks",
        order=100,
    )

    between_fields = (either({"kernel": {"const": "rbf"}}, {"gamma": NULL}),)

    examples = {"": {}, "linear": {"kernel": "linear"}}

    name: Literal["svm"] = "svm"
    kernel: Literal["rbf", "linear"] = "rbf"
    C: Strength | None = None
    gamma: Strength | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kernel == "linear" and self.gamma is not None:
            raise ValueError("the linear kernel has no gamma")
        return self
