"""The objective that training minimises: L(θ) + Σ λᵢRᵢ(θ), with L the cross-entropy on labels, of several the binary
one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from app.methods.terms.registry import AnyTerm
from app.methods.training import Training
from worker.data import targets
from worker.data.batches import Batch, Images
from worker.methods import transferred
from worker.methods.task import Task
from worker.networks.classifier import Classifier
from worker.terms.base import Setting, Term
from worker.terms.registry import TERMS
from worker.training.evaluate import Split
from worker.training.protocols import Losses, Moment


@dataclass(frozen=True)
class _Weighted:
    """A term under the name of its series."""

    name: str
    params: AnyTerm
    term: Term


class Objective:
    """Called at every step; all its parts are logged as series of their names."""

    def __init__(
        self, learner: Classifier, params: Training, weighted: Sequence[_Weighted], weight_K: Tensor | None
    ) -> None:
        self._learner, self._weighted, self._weight_K = learner, weighted, weight_K
        self._smoothing = params.label_smoothing
        self._label_weight = min((one.term.label_weight for one in weighted), default=1.0)
        self._watches = list(dict.fromkeys(path for one in weighted for path in one.term.watches))

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Modules that learn with the network, by the name of their term."""
        return {one.name: one.term.module for one in self._weighted if one.term.module is not None}

    def __call__(self, batch: Batch, moment: Moment) -> Losses:
        if not self._weighted:
            return {"loss": self._on_labels(self._learner.module(batch.x), batch)}
        outputs = self._learner.forward(batch.x, self._watches)
        on_labels = self._on_labels(outputs.logits_BK, batch)
        values = {one.name: one.term(batch, outputs) for one in self._weighted}
        parts = [one.params.weight * one.params.factor(moment.progress) * values[one.name] for one in self._weighted]
        loss = self._label_weight * on_labels + torch.stack(parts).sum()
        return {"loss": loss, "cross_entropy": on_labels, **values}

    def _on_labels(self, logits_BK: Tensor, batch: Batch) -> Tensor:
        own = self._cross_entropy(logits_BK, batch.y_B)
        if batch.partner_y_B is None or batch.share == 1.0:
            return own
        return batch.share * own + (1 - batch.share) * self._cross_entropy(logits_BK, batch.partner_y_B)

    def _cross_entropy(self, logits_BK: Tensor, y: Tensor) -> Tensor:
        return targets.of(y).loss(logits_BK, y, self._weight_K, self._smoothing)


def build(task: Task, learner: Classifier, params: Training, train: Images, examples: Callable[[], Split]) -> Objective:
    """The terms are built while the network is still what it starts from."""
    references = _References(task, learner)
    setting = Setting(
        student=learner,
        source=references.source if task.source is not None and params.terms else None,
        teacher=references.teacher,
        examples=examples,
    )
    total = Counter(params.name for params in params.terms)
    numbers: Counter[str] = Counter()
    weighted = []
    for one in params.terms:
        numbers[one.name] += 1
        name = one.name if total[one.name] == 1 else f"{one.name}_{numbers[one.name]}"
        weighted.append(_Weighted(name, one, TERMS[one.name](one, setting)))
    weight_K = None
    if params.class_weights == "balanced" and learner.classes is not None:
        kind = targets.of(train.label_N)
        weight_K = kind.class_weights(train.label_N, len(learner.classes)).float().to(task.run.device)
    return Objective(learner, params, weighted, weight_K)


class _References:
    """Frozen networks that terms look at, each loaded once, on the run's device."""

    def __init__(self, task: Task, learner: Classifier) -> None:
        self._task, self._learner = task, learner
        self._teachers: dict[str | None, Classifier] = {}

    @cached_property
    def source(self) -> Classifier:
        return transferred.frozen(transferred.base(self._task.known_source), self._task.run.device)

    def teacher(self, teacher_id: str | None) -> Classifier:
        source = self._task.source
        if teacher_id is None and (source is None or transferred.base(source) is source):
            return self.source
        if teacher_id not in self._teachers:
            teacher = self._task.known_source if teacher_id is None else self._task.teachers[teacher_id]
            self._teachers[teacher_id] = transferred.frozen(teacher, self._task.run.device)
        return self._teachers[teacher_id]
