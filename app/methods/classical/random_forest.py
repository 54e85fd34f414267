"""`random_forest`: trees on frozen features."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.base import Info
from app.methods.classical.family import OnFeatures


class RandomForest(OnFeatures):
    """`trees` on bootstrap samples, each split over √D features by Gini impurity; `max_depth` null: until pure."""

    info = Info(
        summary="A random forest on the source's frozen features.",
        when="Few features that matter among many, of different scales; hardly anything to tune.",
        needs=("checkpoint", "target_labels"),
        reference="Breiman 2001, Random forests",
        order=140,
    )

    examples = {"": {"trees": 30}}

    name: Literal["random_forest"] = "random_forest"
    trees: Annotated[int, Field(ge=1, le=2000)] = 300
    max_depth: Annotated[int, Field(ge=1, le=64)] | None = None
    min_leaf: Annotated[int, Field(ge=1, le=10_000)] = 1
