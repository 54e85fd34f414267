"""`Method`: what all methods share, and what each says of itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from app.contract.base import Closed

Need = Literal["checkpoint", "target_labels", "source_data", "teacher", "environments", "sources"]
LAST = 10_000


@dataclass(frozen=True)
class Info:
    """What `GET /v1/methods` and the table in the documentation say of a method.

    `needs` is what a job cannot do without, `takes` what it can use.  `multi_label`: it learns from images with any
    number of labels, too.  `order`: where it stands among the others; left out, after all that give one, by name.
    """

    summary: str
    when: str
    reference: str
    needs: tuple[Need, ...] = ()
    takes: tuple[Need, ...] = ()
    gives_model: bool = True
    multi_label: bool = False
    order: int = LAST


class Method(Closed):
    """A job's `method`: its name, and all that a job may say of it.

    A method is a subclass with an `info` of its own and a `name` that is its module's, in the package of its family;
    `app.methods.registry` finds it there, and the function of the same path in `worker.methods` carries it out.
    """

    info: ClassVar[Info]

    if TYPE_CHECKING:  # a field of each method, where it stands among the others

        @property
        def name(self) -> str: ...

    def networks(self) -> dict[str, str]:
        """Checkpoints and models that are named within, by the path of the parameter that names them."""
        return {}

    def datasets(self) -> dict[str, str]:
        """Datasets that are named within, likewise."""
        return {}
