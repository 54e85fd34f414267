"""`soup`: the mean of several tuned networks' weights."""

from typing import Literal

from app.methods.base import Info
from app.methods.fusion.family import Fusing, Several


class Soup(Fusing):
    """`uniform`: of all sources.  `greedy`: the sources in the order of their validation accuracy, each kept if the
    mean with it is better on the validation split, of equally accurate ones that of less loss.

    The ingredients are the `sources` alone: the `checkpoint`, which may be one of them, counts only if it is named.
    """

    info = Info(
        summary="The mean of several tuned networks' weights, greedily chosen or of all.",
        when="Several tunings of one source on one task are there, with other seeds or settings: better than to keep "
        "one.",
        needs=("checkpoint", "sources"),
        reference="Wortsman et al. 2022, Model soups",
        order=320,
    )

    choice = "kind"

    examples = {
        "": {"sources": ["model_one1", "model_two2", "model_three3"]},
        "uniform": {"sources": ["model_one1", "model_two2", "model_three3"], "kind": "uniform"},
    }

    name: Literal["soup"] = "soup"
    sources: Several
    kind: Literal["uniform", "greedy"] = "greedy"

    @property
    def chooses(self) -> bool:
        return self.kind == "greedy"
