"""`co_tuning`: the source's classes as a second target."""

from typing import Literal

from app.methods.terms.base import Term, TermInfo, Weight


class CoTuning(Term):
    """The source's head learns on, too: what it says of an image is to be what it said of the image's class, of mixed
    images the mixture of both."""

    info = TermInfo(
        needs=("source", "source_head"),
        reference="You et al. 2020, Co-Tuning for transfer learning",
        softmax=True,
        order=40,
    )

    name: Literal["co_tuning"] = "co_tuning"
    weight: Weight = 2.3
