"""`distil_ensemble`: one student learns what several teachers say."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from app.contract.base import DISTINCT, Fraction, ObjectId
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Optimizer
from app.core.errors import Detail
from app.methods.base import SOME_NETWORK, Info
from app.methods.facts import JobFacts, fault, unshared_classes
from app.methods.fusion.family import Unique, no_choice
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

    compared = True

    examples = {
        "": {"teachers": ["model_one1", "model_two2", "model_three3"]},
        "labels": {
            "teachers": ["model_one1", "model_two2", "model_three3"],
            "network": SOME_NETWORK,
            "label_weight": 0.5,
            "labels_per_class": 2,
            "selection": "target_validation",
        },
    }

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

    def heads(self) -> dict[str, str | None]:
        return super().heads() | {f"method.{param}": id_ for param, id_ in self.networks().items()}

    @property
    def chooses(self) -> bool:
        """Tell whether validation labels of the target are read."""
        return self.selection == "target_validation"

    def check_networks(self, facts: JobFacts) -> Iterator[Detail]:
        if self.chooses:
            yield from no_choice("method.selection", facts.target)
        yield from self._check_teachers(facts)
        for param, id_ in self.networks().items():
            yield from unshared_classes(f"method.{param}", facts.networks[id_], facts.target)

    def _check_teachers(self, facts: JobFacts) -> Iterator[Detail]:
        target, ready = facts.target, [facts.networks[id_] for id_ in self.teachers if facts.networks[id_].ready]
        for place, id_ in enumerate(self.teachers):
            if facts.networks[id_] in ready and not facts.networks[id_].classes:
                message = f"Classes are matched by name, and those of {id_} have no names."
                yield fault(f"method.teachers.{place}", message)
                return
        if self.label_weight and not target.training_labels:
            yield fault("method.label_weight", f"{target.id} has no training labels.")
        if target.classes is None:
            return
        if self.network is not None and self.network.num_classes != len(target.classes):
            counts = f"{self.network.num_classes} classes, but {target.id} has {len(target.classes)}"
            yield fault("method.network.num_classes", f"The student's network has {counts}.")
        if len(ready) == len(self.teachers) and not self.label_weight:
            reason = untold(target.classes, [teacher.classes or [] for teacher in ready])
            if reason:
                message = f"Without labels the classes of {target.id} cannot all be learnt: {reason}."
                yield fault("method.label_weight", message)


def union(spaces: Sequence[Sequence[str]]) -> list[str]:
    """All classes, in the order in which they come up."""
    return list(dict.fromkeys(name for space in spaces for name in space))


def untold(classes: Sequence[str], spaces: Sequence[Sequence[str]]) -> str | None:
    """The gap in what teachers who know these `spaces` can tell of `classes`, where no label does: a class that none of
    them knows, or two that no chain of teachers compares.  None: they tell all."""
    reached = [set(space) & set(classes) for space in spaces]
    unknown = [name for name in classes if not any(name in space for space in reached)]
    if unknown:
        return f"no teacher knows the class {unknown[0]!r}"
    connected = {classes[0]}
    while True:
        near = connected.union(*(space for space in reached if space & connected))
        if near == connected:
            break
        connected = near
    apart = [name for name in classes if name not in connected]
    return f"no teacher tells {classes[0]!r} from {apart[0]!r}, nor does a chain of them" if apart else None
