"""`rule_transfer`: the rule that the source was trained by, for a network on the target."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from app.contract.augmentation import AugmentationStep
from app.contract.base import NULL, either
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Optimizer, Recipe
from app.core.errors import Detail, NoRecipe
from app.methods.base import Info, NewNetwork
from app.methods.facts import JobFacts, fault, wrong_outputs
from app.methods.training import Training

Part = Literal["augmentation", "label_smoothing", "mixing", "input"]
PARTS: tuple[Part, ...] = get_args(Part)


class RuleTransfer(Training):
    """A network learns the target under the parts of the source's recipe that `rule` names, whatever the request says
    of these itself.

    `network` is newly drawn; left out, it is the source's architecture, and with `weights`, which go with no `network`,
    it starts from the source's.
    With `ablation` a second one learns without the rule (no augmentation, smoothing or mixing, the usual input for
    the dataset), from the same weights, on the same examples in the same order, for as long; the difference of their
    test accuracies is reported.
    """

    info = Info(
        summary="Train a network on the target by the rule that the source was trained by, and say whether the rule "
        "helps.",
        when="The source's training is worth more than its weights: its augmentation holds for the target's images "
        "too.",
        needs=("checkpoint", "target_labels"),
        reference="Cubuk et al. 2019, AutoAugment, section 4.4 (augmentation policies transfer between datasets)",
        multi_label=True,
        order=70,
    )

    between_fields = (either({"weights": {"const": False}}, {"network": NULL}),)

    examples = {"": {}, "weights": {"weights": True, "rule": ["augmentation", "input"], "ablation": False}}

    name: Literal["rule_transfer"] = "rule_transfer"
    network: NetworkSpec | None = None
    weights: bool = False
    rule: Annotated[list[Part], Field(min_length=1, max_length=len(PARTS))] = list(PARTS)
    ablation: bool = True
    optimizer: Optimizer = "adamw"

    @model_validator(mode="after")
    def _weights_have_a_network(self) -> Self:
        if self.weights and self.network is not None:
            raise ValueError("`weights` are those of the source's architecture: leave `network` out")
        return self

    def new_network(self) -> NewNetwork | None:
        return None if self.network is None else NewNetwork(self.network, None)

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        if self.network is not None:
            yield from wrong_outputs(self.network, facts.target)
        yield from super().check(facts)

    def check_transfer(self, facts: JobFacts) -> Iterator[Detail]:
        yield from super().check_transfer(facts)
        source = facts.source
        if source is None or not source.ready:
            return
        if source.recipe is None:
            yield fault(
                "checkpoint",
                f"{source.id} has no recipe to follow: give one as `recipe` where the checkpoint is made, or start "
                "from a model that a job made.",
                NoRecipe.code,
            )
        elif "input" not in self.rule and not any(getattr(source.recipe, part) for part in self.rule):
            message = f"The recipe of {source.id} has no {' and no '.join(self.rule)} to replay."
            yield fault("method.rule", message)

    def steps(self, images: int) -> int | None:
        steps = super().steps(images)
        return 2 * steps if self.ablation and steps is not None else steps

    def under(self, recipe: Recipe) -> Self:
        """The parts of the rule are as `recipe` says; what it leaves out, there is none of."""
        return self._ruled(recipe.augmentation or [], recipe.label_smoothing or 0.0, recipe.mixing)

    def without(self) -> Self:
        return self._ruled([], 0.0, None)

    def input_under(self, recipe: Recipe, source: InputSpec) -> InputSpec | None:
        """The input under the rule; None where `input` is no part of the rule: then it is as without."""
        return (recipe.input or source) if "input" in self.rule else None

    def _ruled(self, augmentation: list[AugmentationStep], label_smoothing: float, mixing: Any) -> Self:
        ruled = {"augmentation": augmentation, "label_smoothing": label_smoothing, "mixing": mixing}
        return self.model_copy(update={name: value for name, value in ruled.items() if name in self.rule})

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return []
