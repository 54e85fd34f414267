"""`knn`: the nearest training images vote."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.classical import OnFeatures
from app.methods.grafted import Metric, Votes


class Knn(OnFeatures):
    """`k` neighbours by `metric` between features; each votes alike, or by the inverse of its `distance`."""

    name: Literal["knn"] = "knn"
    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    metric: Metric = "euclidean"
    weights: Votes = "uniform"
