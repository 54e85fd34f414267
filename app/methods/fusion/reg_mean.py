"""`reg_mean`: the layers that come nearest to what each source's gives of the images that it learned from."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contract.base import Fraction, ObjectId
from app.core.errors import Detail
from app.methods.base import Info
from app.methods.facts import JobFacts, fault
from app.methods.fusion.family import Fusing, Several

MOST_DATASETS = 16  # of one source


class RegMean(Fusing):
    """Linear and convolution layers by least squares on their inputs, in closed form; everything else is the mean.

    The inputs of each source's layers are those of `images` images, evenly spaced, of the data that this source was
    trained on: `training_sets` maps its id, one of `sources`, to the ids of these datasets; left out, they are those of
    the job that made it, or the checkpoint's known dataset.  No label is read.  `off_diagonal` scales the inputs' inner
    products but for the diagonal: 1 is least squares, 0 a mean weighed by the inputs' energy.
    """

    info = Info(
        summary="Layers that come nearest to what each tuned network's give of the same images, in closed form.",
        when="Tunings of one source on different data, and images of the target without labels.",
        needs=("checkpoint", "sources"),
        reference="Jin et al. 2023, Dataless knowledge fusion by merging weights of language models",
        order=360,
    )

    examples = {
        "": {
            "sources": ["model_one1", "model_two2", "model_three3"],
            "training_sets": {"model_one1": ["ds_here"], "model_two2": ["ds_there"], "model_three3": ["ds_yonder"]},
            "batch_norm": "merged",
        }
    }

    name: Literal["reg_mean"] = "reg_mean"
    sources: Several
    training_sets: dict[ObjectId, Annotated[list[ObjectId], Field(min_length=1, max_length=MOST_DATASETS)]] = {}
    off_diagonal: Fraction = 0.9
    images: Annotated[int, Field(ge=1, le=100_000)] = 1000

    @model_validator(mode="after")
    def _data_of_sources(self) -> Self:
        for source in self.training_sets:
            if source not in self.sources:
                raise ValueError(f"`training_sets` names {source}, which is none of the `sources`")
        return self

    def datasets(self) -> dict[str, str]:
        named = [(source, i, id_) for source, ids in self.training_sets.items() for i, id_ in enumerate(ids)]
        return {f"training_sets.{source}.{i}": id_ for source, i, id_ in named}

    def complete(self, trained_on: Callable[[str], Sequence[str]]) -> Self:
        """The training sets of each source are filled in where nobody says them and they are known."""
        known = {source: self.training_sets.get(source) or list(trained_on(source)) for source in self.sources}
        return self.model_copy(update={"training_sets": {source: ids for source, ids in known.items() if ids}})

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        for source in self.sources:
            if source not in self.training_sets:
                named = f'`"training_sets": {{"{source}": ["ds_…"]}}`'
                message = f"Nobody has said what {source} was trained on: name it, {named}."
                yield fault("method.training_sets", message)
        for param, id_ in self.datasets().items():
            if facts.datasets[id_].lacks("train"):
                yield fault(f"method.{param}", f"The training split of {id_} is empty.")
        yield from super().check(facts)
