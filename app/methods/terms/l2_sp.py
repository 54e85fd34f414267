"""`l2_sp`: the source's weights as the place to stay near."""

from typing import Literal

from app.methods.terms.base import Term, TermInfo, Weight


class L2Sp(Term):
    """½‖w − w₀‖² over what came from the source, and `head` · ½‖w‖² over what is new."""

    info = TermInfo(
        needs=("source",),
        reference="Li, Grandvalet & Davoine 2018, Explicit inductive bias for transfer learning",
        replaces_weight_decay=True,
        order=10,
    )

    name: Literal["l2_sp"] = "l2_sp"
    weight: Weight = 0.01
    head: Weight = 1.0
