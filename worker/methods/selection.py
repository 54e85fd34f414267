"""The selection of a run's weights where the target has no labels to ask: chosen by what may be read, and said."""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.methods.cross_domain.family import Selecting
from worker.data.batches import Images, Prepare
from worker.methods import transferred
from worker.methods.task import LabelUse, Task
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.runtime.contract import Failure, Note
from worker.runtime.run import Run
from worker.training import evaluate, statistics
from worker.training.evaluate import Split
from worker.training.protocols import Validation

COLLAPSED = 0.5  # of the classes that were predicted before: fewer are a collapse

Values = Mapping[str, float]
LABELS = {
    "target_validation": "the target's validation labels",
    "source_validation": "the source's validation labels",
    "entropy": "none",
    "last": "none",
}


@dataclass(frozen=True)
class Selector:
    """Measures a network at the end of every epoch by whatever may be read, and ranks by `selection`.

    `splits` are what is looked at: `target` without labels, `source` and `validation` with them, where they are.
    `classes` is the least effective number of predicted classes that is no collapse.  `unchanged` is the source with
    the same head, a candidate wherever the selection can tell what the target gains.  `source_norms` gives batches of
    the source's training images where batch norm's running statistics are to become the target's: on the source the
    network is judged under those of its own images.
    """

    task: Task
    learner: Classifier
    selection: str
    splits: Mapping[str, Callable[[], Split]]
    use: LabelUse
    classes: float
    unchanged: nn.Module | None
    source_norms: Callable[[], Iterable[Tensor]] | None = None

    @property
    def keep(self) -> Literal["best", "last"]:
        return "last" if self.selection == "last" else "best"

    def validate(self) -> Validation:
        """The validation of a training."""
        values = self.values(self.learner.module, adapted=True)
        return Validation(values, self.rank(values))

    def values(self, network: nn.Module, *, adapted: bool = False) -> dict[str, float]:
        """Figures of a network in evaluation mode: `entropy` and `predicted_classes` on the target's images;
        `source_loss` and `source_accuracy`; `loss` and `accuracy` on the target's validation labels, if the selection
        is by them."""
        figures = confidence(self.task.run, network, self.splits["target"]())
        for split, prefix in (("source", "source_"), ("validation", "")):
            if split in self.splits:
                with self._under_source_norms(network) if split == "source" and adapted else nullcontext():
                    judged = evaluate.judge(self.task.run, network, self.splits[split]())
                figures |= {f"{prefix}loss": judged.nll, f"{prefix}accuracy": judged.accuracy}
        return figures

    def rank(self, values: Values) -> tuple[float, ...]:
        """The greater the better.  By entropy a network that has collapsed onto few classes comes last: nothing is
        surer of itself."""
        match self.selection:
            case "target_validation":
                return values["accuracy"], -values["loss"]
            case "source_validation":
                return values["source_accuracy"], -values["source_loss"]
            case "entropy":
                return float(not self._collapsed(values)), -values["entropy"]
        return (0.0,)

    def settle(self, epoch: int | None) -> dict[str, object]:
        """The last word: the unchanged source takes the network's place where it ranks no lower, but not by the
        source's labels, of which it knows most.  `epoch` is that whose weights the network has.

        Returns:
            What was chosen and by what, for the result's `transfer.selection`.
        """
        values = self.values(self.learner.module, adapted=True)
        before = None if self.unchanged is None else self.values(self.unchanged)
        kept = "adapted"
        if self.unchanged is not None and before is not None and self._no_better(values, before):
            self.learner.module.load_state_dict(self.unchanged.state_dict())
            kept = "unchanged"
            self._warn(f"By {self.selection} no epoch was better than the unchanged source, whose weights are kept.")
        elif self._collapsed(values):
            self._warn(
                f"Only {values['predicted_classes']:.1f} classes are still predicted: the network has collapsed."
            )
        return {
            "by": self.selection,
            "labels": LABELS[self.selection],
            "kept": kept,
            "epoch": epoch if kept == "adapted" else None,
            "values": values,
            "unchanged": before,
        }

    def _no_better(self, values: Values, before: Values) -> bool:
        competes = self.selection in ("target_validation", "entropy")
        return competes and self.rank(before) >= self.rank(values)

    def _under_source_norms(self, network: nn.Module) -> AbstractContextManager[None]:
        return nullcontext() if self.source_norms is None else statistics.under(network, self.source_norms())

    def _warn(self, message: str) -> None:
        self.task.run.emit(Note("selection", message, "warning"))

    def _collapsed(self, values: Values) -> bool:
        return values["predicted_classes"] < self.classes


def selector(
    task: Task,
    learner: Classifier,
    params: Selecting,
    held_out: Images | None = None,
    source_norms: Callable[[], Iterable[Tensor]] | None = None,
) -> Selector:
    """`held_out` are labelled validation images of the source, or of several, as the network takes them; for
    `source_norms` see `Selector`.

    To be built while the network is what the training starts from.

    Raises:
        Failure: `does_not_fit`, there are no images with the labels that are to be selected by.
    """
    read: dict[str, Images] = {"target": _unlabelled(task, learner)}
    if held_out is not None and len(held_out):
        read["source"] = held_out
    if params.selection == "target_validation":
        read["validation"] = _labelled(task, learner)
    if params.selection == "source_validation" and "source" not in read:
        raise Failure("does_not_fit", "`selection` is by the source's validation labels, and there are none.")
    prepare = Prepare(learner.input, task.run.device, device.memory_format(learner.module))
    splits = {
        name: partial(evaluate.image_batches, task.run, images.to(task.run.device), prepare)
        for name, images in read.items()
    }
    use = LabelUse(validation=len(read["validation"])) if "validation" in read else LabelUse()
    unchanged = _unchanged(task, learner)
    classes = float(len(learner.classes or ()))
    if unchanged is not None:
        classes = confidence(task.run, unchanged, splits["target"]())["predicted_classes"]
    return Selector(task, learner, params.selection, splits, use, COLLAPSED * classes, unchanged, source_norms)


def confidence(run: Run, network: nn.Module, batches: Split) -> dict[str, float]:
    """`entropy`: mean of −Σ p log p, in nats.  `predicted_classes`: e to the entropy of the mean p, which is K where
    all of K classes are predicted alike and 1 where one is alone."""
    entropy = torch.zeros((), dtype=torch.float64, device=run.device)
    mean_K: torch.Tensor | float = 0.0
    count = 0
    with torch.inference_mode():
        for x, _ in batches:
            log_p_BK = F.log_softmax(network(x).double(), dim=1)
            entropy -= (log_p_BK.exp() * log_p_BK).sum()
            mean_K = mean_K + log_p_BK.exp().sum(0)
            count += len(x)
        marginal = torch.special.entr(torch.as_tensor(mean_K) / count).sum()
    return {"entropy": float(entropy) / count, "predicted_classes": math.exp(float(marginal))}


def _unlabelled(task: Task, learner: Classifier) -> Images:
    """The target's validation images without their labels; its training images where there are none."""
    rows = task.target.images.rows("validation")
    return task.target.unlabelled(rows if len(rows) else task.target.images.rows("train"), learner.input)


def _labelled(task: Task, learner: Classifier) -> Images:
    rows = task.target.labelled("validation")
    images = task.target.examples(rows, learner.input, learner.classes or task.target.classes)
    if not len(images):
        raise Failure("does_not_fit", "`selection` is by the target's validation labels, and there are none.")
    return images


def _unchanged(task: Task, learner: Classifier) -> nn.Module | None:
    """The source, if it has the learner's head."""
    if task.source is None or learner.classes is None or task.source.classes != learner.classes:
        return None
    return transferred.frozen(task.source, task.run.device).module
