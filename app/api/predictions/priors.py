"""`?priors=`: probabilities for images whose classes have other shares than the validation images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from fastapi import Query
from pydantic import Field, TypeAdapter, ValidationError

from app.contract.reference import Reference
from app.core import errors
from app.db.tables import ServableRow as Row
from app.serving import label_shift
from app.serving.label_shift import Doubles
from app.serving.predictor import ImagePrediction

ESTIMATE = "estimate"
FEWEST = 20  # images that shares are estimated from

Priors = Annotated[
    str | None,
    Query(
        max_length=48 * 1024,
        pattern=r"^(estimate|\{.*\})$",
        description="The shares that the classes have among the images: probabilities are corrected for them.  "
        "`estimate`: they are estimated from all images of the request together, at least 20 and as many as there are "
        "classes; or a JSON object of the shares by class, of whatever sum, where a class that is left out has none, "
        "and others than those of the network are refused.  It goes with no `adapt`, and with no network whose images "
        "have several labels or that was never measured on validation images.",
    ),
]


_SHARES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, Annotated[float, Field(ge=0, le=1e9)]])


@dataclass(frozen=True)
class Shift:
    """The correction that a request asks for: `share_K` are the classes' shares, None: they are to be estimated."""

    labels: Sequence[str]
    prior_K: Doubles
    share_K: Doubles | None

    @classmethod
    def of(cls, row: Row, priors: str) -> Self:
        """
        Raises:
            NoReference: nobody knows what priors the network's probabilities go by.
            Invalid: an image may have several labels; or the shares are none.
        """
        if row.multi_label:
            raise errors.Invalid("An image may have any number of its classes: they have no shares.", param="priors")
        if row.reference is None or (prior := Reference.load(row.reference).priors) is None:
            raise errors.NoReference(
                "Priors are known of models that a job made with validation images, by this version or a later one."
            )
        labels = row.classes or [str(k) for k in range(len(prior))]
        share_K = None if priors == ESTIMATE else _shares(priors, labels)
        return cls(labels, np.array(prior), share_K)

    def require_enough(self, images: int) -> None:
        """
        Raises:
            Invalid: there are too few images to estimate shares from.
        """
        fewest = max(FEWEST, len(self.labels))
        if self.share_K is None and images < fewest:
            message = f"Shares of {len(self.labels)} classes are estimated from {fewest} images at least, not {images}."
            raise errors.Invalid(f"{message} Send more at a time, or the shares themselves.", param="priors")

    def corrected(self, predictions: Sequence[ImagePrediction]) -> tuple[list[ImagePrediction], dict[str, object]]:
        """The predictions under the shares, and what is told of these."""
        p_NK = np.stack([each.probabilities for each in predictions]).astype(np.float64)
        share_K = label_shift.estimate(p_NK, self.prior_K) if self.share_K is None else self.share_K
        after_NK = label_shift.corrected(p_NK, self.prior_K, share_K).astype(np.float32)
        told = {
            "estimated": self.share_K is None,
            "images": len(predictions),
            "reference": dict(zip(self.labels, self.prior_K.tolist(), strict=True)),
            "shares": dict(zip(self.labels, share_K.tolist(), strict=True)),
        }
        return [each._replace(probabilities=p_K) for each, p_K in zip(predictions, after_NK, strict=True)], told


def _shares(priors: str, labels: Sequence[str]) -> Doubles:
    try:
        by_label = _SHARES.validate_json(priors, strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise errors.Invalid(f"{where}: {fault['msg']}" if where else fault["msg"], param="priors") from None
    if unknown := by_label.keys() - set(labels):
        raise errors.Invalid(f"The network has no class {min(unknown)!r}.", param="priors")
    share_K: Doubles = np.array([by_label.get(label, 0.0) for label in labels])
    if share_K.sum() <= 0:
        raise errors.Invalid("No class has a share.", param="priors")
    share_K /= share_K.sum()
    return share_K
