"""`knn`: the nearest training images vote."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.grafted import Metric, Votes
from app.methods.base import Info
from app.methods.classical.family import OnFeatures


class Knn(OnFeatures):
    """`k` neighbours by `metric` between features; each votes alike, or by the inverse of its `distance`."""

    info = Info(
        summary="The nearest training images by the source's frozen features vote.",
        when="A handful of labels, classes of several clusters each, or answers that point to their examples.",
        needs=("checkpoint", "target_labels"),
        reference="Cover & Hart 1967, Nearest neighbor pattern classification",
        order=130,
    )

    examples = {"": {}, "cosine": {"metric": "cosine", "weights": "distance", "k": 3}}

    name: Literal["knn"] = "knn"
    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    metric: Metric = "euclidean"
    weights: Votes = "uniform"
