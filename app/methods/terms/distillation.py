"""`distillation`: a teacher's softened answers."""

from typing import Literal

from app.contract.base import Fraction
from app.methods.terms.base import Taught, Temperature, TermInfo, Weight


class Distillation(Taught):
    """T² · KL(teacher/T ‖ student/T) over the classes that they share by name; L on labels counts `label_weight`."""

    info = TermInfo(
        needs=("teacher",),
        reference="Hinton, Vinyals & Dean 2015, Distilling the knowledge in a neural network",
        softmax=True,
        order=50,
    )

    name: Literal["distillation"] = "distillation"
    weight: Weight = 0.9
    label_weight: Fraction = 0.1
    temperature: Temperature = 4.0
