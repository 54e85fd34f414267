"""`distillation`: a teacher's softened answers."""

from collections.abc import Iterator
from typing import Literal

from app.contract.base import Fraction
from app.core.errors import Detail
from app.methods.facts import JobFacts, unshared_classes
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

    def heads(self, param: str) -> dict[str, str | None]:
        return {f"{param}.teacher": self.teacher}

    def check(self, param: str, method: str, facts: JobFacts) -> Iterator[Detail]:
        yield from super().check(param, method, facts)
        yield from unshared_classes(f"{param}.teacher", facts.network(self.teacher), facts.target)
