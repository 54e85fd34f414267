"""`grafted`: another network's features under a head that was fitted, not trained by gradients."""

from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import StrictModel
from app.contract.networks import NetworkSpec

NAME = "grafted"

Count = Annotated[int, Field(ge=1, le=10**9)]
Metric = Literal["euclidean", "cosine"]
Votes = Literal["uniform", "distance"]


class LinearHead(StrictModel):
    """One weight vector and one bias a class."""

    kind: Literal["linear"] = "linear"


class RbfHead(StrictModel):
    """One-vs-rest decisions over `vectors` support vectors."""

    kind: Literal["rbf"] = "rbf"
    vectors: Count


class ForestHead(StrictModel):
    """`nodes` of `trees` of at most `depth` steps, whose leaves point to `distributions` over the classes."""

    kind: Literal["forest"] = "forest"
    trees: Count
    nodes: Count
    depth: Annotated[int, Field(ge=0, le=10_000)]
    distributions: Count


class KnnHead(StrictModel):
    """The `examples` themselves, of which the `k` nearest vote."""

    kind: Literal["knn"] = "knn"
    examples: Count
    k: Count
    metric: Metric
    weights: Votes


AnyHead = Annotated[LinearHead | RbfHead | ForestHead | KnnHead, Field(discriminator="kind")]


class GraftedOptions(StrictModel):
    """`backbone` is a whole network, whose own head stays within, unused; `head` has the sizes of what stands on it."""

    backbone: NetworkSpec
    head: AnyHead


def spec(backbone: NetworkSpec, head: AnyHead, num_classes: int) -> NetworkSpec:
    options = GraftedOptions(backbone=backbone, head=head)
    return NetworkSpec(name=NAME, num_classes=num_classes, options=options.model_dump(mode="json"))


def backbone(spec: NetworkSpec) -> NetworkSpec:
    """The network under the graft; any other network is its own backbone.

    Raises:
        ValidationError: the options are none of a grafted network.
    """
    return GraftedOptions.model_validate(spec.options).backbone if spec.name == NAME else spec
