"""A recipe: the rule by which a network was trained, for another training to follow."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError

from app.contract.augmentation import AugmentationStep
from app.contract.base import StrictModel
from app.contract.inputs import InputSpec
from app.contract.mixing import Mixing

LearningRate = Annotated[float, Field(gt=0, le=100)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Optimizer = Literal["sgd", "adamw"]


class Recipe(StrictModel):
    """Version 1.  What is left out is not known; `augmentation: []`, `label_smoothing: 0` and `mixing: null` say that
    there was none.

    `input` is what the images were brought to, `augmentation` the steps in their order.
    """

    version: Literal[1]
    input: InputSpec | None = None
    augmentation: Annotated[list[AugmentationStep], Field(max_length=16)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    mixing: Mixing | None = None
    optimizer: Optimizer | None = None
    learning_rate: LearningRate | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    scheduler: Literal["cosine", "step", "constant"] | None = None
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] | None = None
    batch_size: Count | None = None
    epochs: Count | None = None

    @classmethod
    def of(cls, params: StrictModel, input: InputSpec) -> Self:
        """The recipe of a network that a method made for images as `input` says; its `params` have their defaults
        closed."""
        entries = {name: getattr(params, name) for name in cls.model_fields if name in type(params).model_fields}
        return cls(**entries | {"version": 1, "input": input})

    @classmethod
    def read(cls, document: Mapping[str, Any] | None) -> Self | None:
        """The stored recipe; None where nothing is stored, or something from before recipes were checked."""
        try:
            return None if document is None else cls.model_validate(document)
        except ValidationError:
            return None

    def document(self) -> dict[str, object]:
        """Give what is known, with the defaults of the steps."""
        return self.model_dump(mode="json", include=self.model_fields_set)
