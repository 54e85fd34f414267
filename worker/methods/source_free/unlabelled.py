"""The target's images without their labels, and what a network says of them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.data.batches import Images, Prepare
from worker.methods.task import Task
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.runtime.contract import Failure, Note
from worker.runtime.run import Run
from worker.terms import information
from worker.training import evaluate
from worker.training.evaluate import Split

ONE_CLASS = 1.5  # classes to which predictions come: below, they are of one
SURE = 0.5  # of the greatest entropy that predictions can have: below, they are no mere doubt
SOUND = 0.5  # of the classes to which they came before: below, they have collapsed


@dataclass(frozen=True)
class Unlabelled:
    """Images without labels, on the network's input size and, where it has the room, on the run's device; validation
    may be empty."""

    train: Images
    validation: Images


@dataclass(frozen=True)
class Predictions:
    """Predictions over images: the mean entropy of the predictions, and the share of each class among the predicted
    ones.

    `classes` is how many classes these shares come to, exp of their entropy: K where all are as frequent, 1 for one.
    """

    images: int
    entropy: float
    share_K: list[float]

    @property
    def classes(self) -> float:
        return math.exp(-sum(share * math.log(share) for share in self.share_K if share > 0))

    @property
    def one_class(self) -> bool:
        """Nearly all images are taken for the same class, and that not by mere doubt."""
        return self.classes < ONE_CLASS and self.entropy < SURE * math.log(max(2, len(self.share_K)))

    def document(self) -> dict[str, object]:
        return {"images": self.images, "entropy": self.entropy, "classes": self.classes, "shares": self.share_K}


def images(task: Task, learner: Classifier) -> Unlabelled:
    """
    Raises:
        Failure: `does_not_fit`, there is nothing to adapt to.
    """
    splits = (task.target.images.rows(split) for split in ("train", "validation"))
    train, validation = (task.target.unlabelled(rows, learner.input).to(task.run.device) for rows in splits)
    if len(train) < 2:
        raise Failure("does_not_fit", "The training split holds fewer than two images: there is nothing to adapt to.")
    return Unlabelled(train, validation)


def prepare(run: Run, learner: Classifier) -> Prepare:
    return Prepare(learner.input, run.device, device.memory_format(learner.module))


def batches(run: Run, learner: Classifier, of: Images) -> Split:
    return evaluate.image_batches(run, of, prepare(run, learner))


def predict(run: Run, learner: Classifier, of: Images) -> Predictions:
    """The caller has put the network into evaluation mode."""
    entropy, count_K = [], []
    with torch.inference_mode():
        for x_BCHW, _ in batches(run, learner, of):
            logits_BK = learner.module(x_BCHW).float()
            entropy.append(information.entropy(logits_BK))
            count_K.append(torch.bincount(logits_BK.argmax(1), minlength=logits_BK.shape[1]))
    share_K = torch.stack(count_K).sum(0).double() / len(of)
    return Predictions(len(of), float(torch.cat(entropy).double().mean()), share_K.tolist())


def floor(*sound: Predictions) -> float:
    """Predictions that come to fewer classes than this have collapsed, where those of `sound` had not."""
    return max(ONE_CLASS, *(SOUND * predictions.classes for predictions in sound))


def report(run: Run, before: Predictions, after: Predictions) -> dict[str, object]:
    """The document on both; a warning is emitted where either is of one class, or the later has collapsed."""
    message = None
    if before.one_class:
        message = (
            "To the source nearly all of the target's images are of one class. If they are, do not use the result: "
            "whatever is adapted without labels takes the classes to be about as frequent as they were."
        )
    elif after.classes < floor(before):
        message = (
            f"The predictions have collapsed from {before.classes:.1f} to {after.classes:.1f} classes "
            "(exp of the entropy of their shares): do not use the result."
        )
    if message is not None:
        run.emit(Note("collapse", message, "warning"))
    return {"before": before.document(), "after": after.document()}


def shared(task: Task, learner: Classifier) -> Tensor | None:
    """int64 [L] on the run's device: the outputs for the classes that the target names; None: all of them."""
    names = set(task.target.classes)
    places = [place for place, name in enumerate(learner.classes or ()) if name in names]
    if not places or len(places) == len(learner.classes or ()):
        return None
    return torch.tensor(places, device=task.run.device)
