"""`fisher`: a mean in which every weight counts as much as its source's answers hang on it."""

from typing import Literal

from app.methods.base import Info
from app.methods.fusion.family import FromOwnImages


class Fisher(FromOwnImages):
    """Each parameter is the mean of the sources', weighed by the diagonal of each one's Fisher information.

    That is the mean square of the gradient of log p(y|x), with y drawn from the source's own p(y|x), over `images`
    images of the data that this source was trained on (`training_sets`).
    """

    info = Info(
        summary="The mean of several tuned networks, each weight by how much its network's answers hang on it.",
        when="As `reg_mean`, for networks with other layers than linear ones and convolutions.",
        needs=("checkpoint", "sources"),
        reference="Matena & Raffel 2022, Merging models with Fisher-weighted averaging",
        order=365,
    )

    examples = {
        "": {
            "sources": ["model_one1", "model_two2", "model_three3"],
            "training_sets": {"model_one1": ["ds_here"], "model_two2": ["ds_there"], "model_three3": ["ds_yonder"]},
            "images": 32,
        }
    }

    name: Literal["fisher"] = "fisher"
