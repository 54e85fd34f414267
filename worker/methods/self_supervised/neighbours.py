"""A measure of how well features tell the target's classes apart, by their nearest neighbours: looked at, never learned
from."""

import numpy as np
import torch
from numpy.typing import NDArray

from app.imaging.packed import Split
from worker.data.batches import Images, Prepare
from worker.methods.task import LabelUse, Task
from worker.metrics import scores
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.training import evaluate, features, neighbours
from worker.training.features import Features
from worker.training.protocols import Validation

LOOKED_AT = 4096  # images of a split, evenly spaced


class NeighbourValidation:
    """The k-NN accuracy of a network's features: validation images by their neighbours among training images."""

    def __init__(self, task: Task, learner: Classifier) -> None:
        self._task, self._learner = task, learner
        self._train, self._validation = (self._labelled(split) for split in ("train", "validation"))

    @property
    def possible(self) -> bool:
        return len(self._train) > 0 and len(self._validation) > 0

    @property
    def use(self) -> LabelUse:
        images = len(self._train) + len(self._validation) if self.possible else 0
        return LabelUse(watched=images)

    def validate(self) -> Validation:
        """The validation of a training, none of which is better than another."""
        return Validation({"knn_accuracy": self._right(self._validation) / len(self._validation)}, ())

    def report(self) -> dict[str, object]:
        """The accuracy on the test split, whose labels are read here, once; None where there are none."""
        test = self._labelled("test")
        knn = None
        if len(self._train) and len(test):
            right = self._right(test)
            interval = list(scores.wilson(right, len(test)))
            knn = {"split": "test", "n": len(test), "accuracy": right / len(test), "accuracy_interval": interval}
            knn |= {"neighbours": min(neighbours.NEIGHBOURS, len(self._train)), "known": len(self._train)}
        return {"knn": knn, "labels_used": str(self.use)}

    def _right(self, images: Images) -> int:
        classes = len(self._task.target.classes)
        known, asked = self._features(self._train), self._features(images)
        return int((neighbours.vote(known, asked.x_ND, classes) == asked.label_N).sum())

    def _features(self, images: Images) -> Features:
        run, learner = self._task.run, self._learner
        prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
        batches = evaluate.image_batches(run, images, prepare)
        return features.compute(learner.features, batches)

    def _labelled(self, split: Split) -> Images:
        domain = self._task.target
        rows = _spaced(domain.labelled(split))
        if not len(rows):
            return Images(torch.empty(0, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
        return domain.examples(rows, self._learner.input, domain.classes).to(self._task.run.device)


def _spaced(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).astype(np.int64)]
