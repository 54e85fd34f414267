"""Identifications: the networks that a file of weights may be of."""

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.record import Record


class Candidate(Record):
    """A network that the weights may be of.

    `fit` is the share of its weights that the file holds, times that of the file's weights that have a place in it; 1
    is all of both.  `found` of its `wanted` weights are there, its head not counted; `used` of the file's `given`,
    whose names begin with `prefix`.  `ambiguous_with` are networks of the same shapes and names that compute something
    else, `same_as` those that compute the same.
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


class Identification(Record):
    """`candidates`, the best first; `rule` says by what the first was told: `names`, `structure` (order and shapes) or
    `metadata` (the file says it itself); None where none is taken."""

    rule: str | None
    candidates: list[Candidate]
