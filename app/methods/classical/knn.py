"""`knn`: the nearest training images vote."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.grafted import Metric, Votes
from app.methods.classical.family import OnFeatures


class Knn(OnFeatures):
    """`k` neighbours by `metric` between features; each votes alike, or by the inverse of its `distance`."""

    name: Literal["knn"] = "knn"
    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    metric: Metric = "euclidean"
    weights: Votes = "uniform"
