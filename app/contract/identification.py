"""Identifications: the networks that a file of weights may be of."""

from typing import Literal

from app.contract.datasets import Split
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.record import Record


class Candidate(Record):
    """A network that the weights may be of.

    `fit` is the share of its weights that the file holds, times that of the file's weights that have a place in it; 1
    is all of both.  `found` of its `wanted` weights are there, its head not counted; `used` of the file's `given`,
    whose names begin with `prefix`.  `ambiguous_with` are networks of the same shapes and names that compute something
    else, `same_as` those that compute the same.  `accuracy` is the share of the labelled images of `measured` that it
    gave their class, where it was asked.
    """

    network: NetworkSpec
    input: InputSpec | None = None
    fit: float
    found: int | None = None
    wanted: int | None = None
    used: int | None = None
    given: int | None = None
    prefix: str | None = None
    ambiguous_with: list[str] = []
    same_as: list[str] = []
    accuracy: float | None = None


class Trial(Record):
    """The measurement of networks that the weights fit alike on labelled images of `dataset`.

    `images` of each split were asked, of `classes` classes, which were matched by their `names`, or where one side has
    none by their `order`.  `majority` is the share of the commonest class among them.  `p_value` is that of McNemar's
    exact test between the best candidate and the one that it is told from least, for the number of pairs.  `decided`:
    all others are beaten beyond chance; else those that are not stand in `ambiguous_with`.
    """

    dataset: str
    images: dict[Split, int]
    classes: int
    matched_by: Literal["names", "order"]
    majority: float
    p_value: float
    decided: bool


class Identification(Record):
    """`candidates`, the best first; `rule` says by what the first was told: `names`, `structure` (order and shapes) or
    `metadata` (the file says it itself); None where none is taken.  `measured`: the trial on labelled images that
    decided between candidates, or could not."""

    rule: str | None
    candidates: list[Candidate]
    measured: Trial | None = None
