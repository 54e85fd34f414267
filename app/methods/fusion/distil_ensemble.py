"""`distil_ensemble`: one student learns what several teachers say."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import DISTINCT, Fraction, ObjectId
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Optimizer
from app.methods.base import Info
from app.methods.fusion.family import Unique
from app.methods.terms.base import Temperature
from app.methods.training import LabelBudget, Loop

Teachers = Annotated[list[ObjectId], Field(min_length=1, max_length=16), Unique, DISTINCT]


class DistilEnsemble(Loop, LabelBudget):
    """`teachers` may be of any architectures and of different classes, which are matched by name.

    The student is the checkpoint's network, with its weights, or a new `network` (for images as `input` says); its
    classes are the target's, or all that the teachers know where the target has none.  Labels are not needed: with
    `label_weight` those within the budget count so much of the loss.  `selection`: the weights that agree best with
    the teachers on the validation images, that are most accurate on these by the target's labels, or the last.
    """

    info = Info(
        summary="A student that learns what several teachers of any architectures and classes say of the target's "
        "images.",
        when="Networks whose weights cannot be merged are to become one; labels are not needed.",
        needs=("checkpoint", "teacher"),
        reference="Vongkulbhisal et al. 2019, Unifying heterogeneous classifiers with distillation",
        order=370,
    )

    name: Literal["distil_ensemble"] = "distil_ensemble"
    teachers: Teachers
    network: NetworkSpec | None = None
    input: InputSpec | None = None
    temperature: Temperature = 4.0
    label_weight: Fraction = 0.0
    selection: Literal["agreement", "target_validation", "last"] = "agreement"
    optimizer: Optimizer = "adamw"

    def networks(self) -> dict[str, str]:
        return {f"teachers.{i}": teacher for i, teacher in enumerate(self.teachers)}

    @property
    def chooses(self) -> bool:
        """Whether validation labels of the target are read."""
        return self.selection == "target_validation"


def union(spaces: Sequence[Sequence[str]]) -> list[str]:
    """All classes, in the order in which they come up."""
    return list(dict.fromkeys(name for space in spaces for name in space))


def untold(classes: Sequence[str], spaces: Sequence[Sequence[str]]) -> str | None:
    """What teachers who know these `spaces` cannot tell of `classes`, where no label does: one that none of them
    knows, or two that no chain of teachers compares.  None: they tell all."""
    reached = [set(space) & set(classes) for space in spaces]
    unknown = [name for name in classes if not any(name in space for space in reached)]
    if unknown:
        return f"no teacher knows the class {unknown[0]!r}"
    found = {classes[0]}
    while True:
        near = found.union(*(space for space in reached if space & found))
        if near == found:
            break
        found = near
    apart = [name for name in classes if name not in found]
    return f"no teacher tells {classes[0]!r} from {apart[0]!r}, nor does a chain of them" if apart else None
