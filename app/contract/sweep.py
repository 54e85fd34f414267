"""The space of a sweep: which parameters of a method are drawn, and from what."""

import math
from abc import abstractmethod
from typing import Annotated, Self

from pydantic import Field, model_validator

from app.contract.base import StrictModel, Text

Drawn = bool | int | float | str | None  # a parameter's value
Finite = Annotated[float, Field(ge=-1e12, le=1e12)]
Whole = Annotated[int, Field(ge=-(2**31), le=2**31)]


class Range(StrictModel):
    """Numbers between two, the smaller first.  `unit` and `value` map them to 0 … 1 and back."""

    @property
    @abstractmethod
    def ends(self) -> tuple[float, float]:
        """The two numbers, as the request says them."""

    def value(self, unit: float) -> Drawn:
        low, high = self.ends
        return low + unit * (high - low)

    def unit(self, value: float) -> float:
        low, high = self.ends
        return (value - low) / (high - low)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        low, high = self.ends
        if not low < high:
            raise ValueError("the smaller number comes first, and the two differ")
        return self


class Uniform(Range):
    """Every number of a range is drawn alike."""

    uniform: tuple[Finite, Finite]

    @property
    def ends(self) -> tuple[float, float]:
        return self.uniform


class LogUniform(Range):
    """Every order of magnitude of a range of positive numbers is drawn alike."""

    log: tuple[Annotated[float, Field(ge=1e-12, le=1e12)], Annotated[float, Field(ge=1e-12, le=1e12)]]

    @property
    def ends(self) -> tuple[float, float]:
        return self.log

    def value(self, unit: float) -> Drawn:
        low, high = map(math.log, self.log)
        return min(self.log[1], max(self.log[0], math.exp(low + unit * (high - low))))

    def unit(self, value: float) -> float:
        low, high = map(math.log, self.log)
        return (math.log(value) - low) / (high - low)


class Integers(Range):
    """Every whole number of a range, its ends included, is drawn alike."""

    integer: tuple[Whole, Whole]

    @property
    def ends(self) -> tuple[float, float]:
        return self.integer

    def value(self, unit: float) -> Drawn:
        low, high = self.integer
        return low + min(high - low, int(unit * (high - low + 1)))

    def unit(self, value: float) -> float:
        low, high = self.integer
        return (value - low + 0.5) / (high - low + 1)


Choice = Annotated[
    list[Annotated[Text, Field(max_length=256)] | bool | int | Finite | None], Field(min_length=1, max_length=64)
]
Dimension = Choice | Uniform | LogUniform | Integers
Space = Annotated[
    dict[Annotated[str, Field(pattern=r"^method(\.[a-z_]{1,64}){1,4}$")], Dimension], Field(min_length=1, max_length=16)
]
