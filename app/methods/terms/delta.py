"""`delta`: features stay near the source's."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.terms.base import LayerPath, Term, TermInfo, Weight


class Delta(Term):
    """Squared distance of the outputs of `layers` from the source's on the same images, per place, mean over images,
    and `head` · ½‖w‖² over what is new.

    Every channel counts alike: the paper's variant without attention.  `layers` are paths of modules; left out, the
    ends of the last two stages.
    """

    info = TermInfo(
        needs=("source",),
        reference="Li et al. 2019, DELTA: deep learning transfer using feature map with attention "
        "(without the attention)",
        replaces_weight_decay=True,
        order=20,
    )

    name: Literal["delta"] = "delta"
    weight: Weight = 0.01
    head: Weight = 1.0
    layers: Annotated[list[LayerPath], Field(min_length=1, max_length=16)] | None = None
