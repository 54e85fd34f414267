"""`feature_hint`: a teacher's features."""

from typing import Literal

from app.methods.terms.base import LayerPath, Taught, TermInfo, Weight


class FeatureHint(Taught):
    """Mean squared distance of the output of `layer`, through a learned 1×1 map, from that of `teacher_layer`.

    Left out, each is the end of the last stage.
    """

    info = TermInfo(
        needs=("teacher",),
        reference="Romero et al. 2015, FitNets: hints for thin deep nets",
        order=60,
    )

    name: Literal["feature_hint"] = "feature_hint"
    weight: Weight = 1.0
    layer: LayerPath | None = None
    teacher_layer: LayerPath | None = None
