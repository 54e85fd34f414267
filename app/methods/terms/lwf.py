"""`lwf`: what the source said of the images."""

from typing import Literal

from app.methods.terms.base import Temperature, Term, TermInfo, Weight


class Lwf(Term):
    """T² · KL between what the source says, and what its head says on what becomes of its backbone.

    The default is 4 as published, over T² = 9, which the published loss does not have.
    """

    info = TermInfo(
        needs=("source", "source_head"),
        reference="Li & Hoiem 2017, Learning without forgetting",
        softmax=True,
        order=80,
    )

    name: Literal["lwf"] = "lwf"
    weight: Weight = 4 / 9
    temperature: Temperature = 3.0
