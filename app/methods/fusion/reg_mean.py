"""`reg_mean`: the layers that come nearest to what each source's gives of the images that it learned from."""

from typing import Literal

from app.contract.base import Fraction
from app.methods.base import Info
from app.methods.fusion.family import FromOwnImages


class RegMean(FromOwnImages):
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
    off_diagonal: Fraction = 0.9
