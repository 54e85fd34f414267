"""Merging, as every method does it that calculates weights: candidates are judged, one is kept."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from app.contract.inputs import InputSpec
from app.contract.transfer import TensorReport, TransferReport
from app.methods.fusion.family import Fusing
from worker.data import batches as data
from worker.data.batches import Prepare
from worker.methods import measure, transferred
from worker.methods.fusion import ingredients
from worker.methods.measure import Examine
from worker.methods.task import Adapted, Domain, LabelUse, Task
from worker.networks import merge
from worker.networks.merge import Weights
from worker.runtime import device
from worker.runtime.contract import Failure, Note
from worker.training import batch_norm

STATISTICS_IMAGES = 4096  # of the target's training split, evenly spaced: enough for batch norm's statistics
STATISTICS_BATCH = 128
VALIDATION = "validation"
FAR = 1.0  # of the checkpoint's norm; networks that were drawn apart are some √2 of it apart
SCALES = tuple(i / 10 for i in range(11))


class Candidate(NamedTuple):
    """Weights with their figures on a validation split."""

    accuracy: float
    nll: float


class Merger:
    """The ingredients, and a network in which merged weights are tried."""

    def __init__(self, task: Task, params: Fusing, candidates: int) -> None:
        """
        Raises:
            Failure: `does_not_fit`; see `ingredients.gather`, or there is nothing to choose by.
        """
        self._task, self._run, self._params = task, task.run, params
        self._run.expect(candidates + 1)
        self._run.tell(0, 1)
        self.of = ingredients.gather(task, params)
        self.classifier = self.of.classifier
        self.network = self.classifier.module
        self._prepare = Prepare(self.classifier.input, self._run.device, device.memory_format(self.network))
        self._normed = bool(batch_norm.layers(self.network))
        self._validate: Examine | None = None
        self._used = LabelUse()
        if params.chooses:
            self._used, self._validate = self._validation()
        self._judged = 0

    def judge(self, phase: str, weights: Callable[[], Weights], *, merged: bool, at: float | None = None) -> Candidate:
        """Judge weights on the target's validation images.  `merged`: statistics are to be taken anew; `at`: the place
        on a curve."""
        return self.look(phase, weights, {}, merged=merged, at=at)[VALIDATION]

    def look(
        self,
        phase: str,
        weights: Callable[[], Weights],
        others: Mapping[str, Examine],
        *,
        merged: bool,
        at: float | None = None,
    ) -> dict[str, Candidate]:
        """Judge weights also on other splits, by name.  Each candidate once, also where the job goes on from a
        snapshot."""
        self._judged += 1
        figures_by_split = self._run.result(phase)
        if figures_by_split is None:
            self._run.checkpoint_or_stop()
            self.put(weights(), merged=merged)
            figures_by_split = {
                split: self._figures(examine, split, at) for split, examine in self._examined(others).items()
            }
        self.passed(phase, figures_by_split)
        return {split: Candidate(**figures) for split, figures in figures_by_split.items()}

    def passed(self, phase: str, result: dict[str, Any] | None = None) -> None:
        """A step is done."""
        self._run.done(phase, result or {}, 1)
        self._run.tell(0, 1)

    def put(self, weights: Weights, *, merged: bool) -> None:
        """Put weights into the network, which is in evaluation mode."""
        self.network.load_state_dict(dict(weights))
        if merged and self._normed and self._params.batch_norm == "reestimated":
            batch_norm.reestimate(self.network, self.batches(STATISTICS_IMAGES, STATISTICS_BATCH))

    def batches(self, images: int, size: int) -> Iterator[Tensor]:
        """Training images of the target, evenly spaced and shuffled; no label is looked at.

        Raises:
            Failure: `does_not_fit`, there are fewer than two.
        """
        target = self._task.target
        if len(target.images.rows("train")) < 2:
            raise Failure("does_not_fit", "Merging looks at the target's training images, and there are not two.")
        yield from self.batches_of(target, self.classifier.input, images, size)

    def batches_of(self, domain: Domain, input: InputSpec, images: int, size: int) -> Iterator[Tensor]:
        """Batches of any dataset; `input` may differ from the merged network's in how images are fitted to it."""
        rows = domain.images.rows("train")
        rows = rows[np.linspace(0, len(rows) - 1, min(images, len(rows))).astype(np.int64)]
        unlabelled = domain.unlabelled(rows, input).to(self._run.device)
        stream = data.image_batches(self._run, unlabelled, prepare=self._prepare, batch_size=size, stream="statistics")
        for batch in stream.epoch(0):
            self._run.checkpoint_or_stop()
            yield batch.x

    def adapted(self, weights: Weights, *, merged: bool, about: Mapping[str, Any]) -> Adapted:
        """The network with these weights; `about` joins the account of the fusion."""
        self.put(weights, merged=merged)
        self._run.done("merge", {}, 1)
        self._run.expect(0)
        self._run.tell(0, 0)
        kept = self.classifier.classes == self._task.known_source.classes
        report = TransferReport(
            tensors=self._origin(),
            head="kept" if kept else "merged",
            adapters=transferred.adapters(self._task.target, self.classifier.input),
        )
        fusion = {"sources": self._distances(), "batch_norm": self._statistics(merged), **about}
        transfer = report | {"fusion": fusion}
        return Adapted(self.classifier, self.of.spec, self._params, self._used, transfer)

    def _validation(self) -> tuple[LabelUse, Examine]:
        target = self._task.target
        rows = target.within(target.labelled("validation"), self._params, self._run.seed)
        examine = measure.examiner(self._run, self.classifier.input, self.classifier.classes, target, rows)
        if examine is None:
            reason = "has no labelled validation image of the networks' classes"
            raise Failure("does_not_fit", f"`{self._params.name}` chooses on the validation split, and it {reason}.")
        return LabelUse(0, len(rows)), examine

    def _examined(self, others: Mapping[str, Examine]) -> dict[str, Examine]:
        if self._validate is None:
            raise AssertionError("nothing is to be chosen")
        return {VALIDATION: self._validate, **others}

    def _figures(self, examine: Examine, split: str, at: float | None) -> dict[str, float]:
        judged = examine(self.network)
        step = self._judged
        self._run.log({"accuracy": judged.accuracy, "loss": judged.nll}, split, step, step if at is None else at)
        return {"accuracy": judged.accuracy, "nll": judged.nll}

    def _statistics(self, merged: bool) -> str | None:
        if not self._normed:
            return None
        return self._params.batch_norm if merged else "kept"

    def _origin(self) -> TensorReport:
        """The report on tensors, as a load makes it: what is the checkpoint's, as the tunings left it."""
        copied = [name for name in self.network.state_dict() if name in self.of.tuned]
        return TensorReport(copied=copied, renamed=[], reshaped=[], skipped=[], initialised=[])

    def _distances(self) -> list[dict[str, Any]]:
        """Distances of the sources from the checkpoint: ‖w − w₀‖ / ‖w₀‖ over the matrices and kernels that both
        have."""
        distances = {id_: self._distance(weights) for id_, weights in self.of.sources.items()}
        for id_, distance in distances.items():
            if distance is not None and distance > FAR:
                message = f"{id_} is so far from the checkpoint that it was hardly fine-tuned from it."
                self._run.emit(Note("far_apart", message, "warning", {"id": id_, "distance": distance}))
        return [{"id": id_, "distance": distance} for id_, distance in distances.items()]

    def _distance(self, weights: Weights) -> float | None:
        moved = norm = 0.0
        for name in self.of.parameters & self.of.tuned:
            before = self.of.origin[name].double()
            if before.ndim > 1:  # norms and biases begin alike in every network
                moved += float((weights[name].double() - before).square().sum())
                norm += float(before.square().sum())
        return (moved / norm) ** 0.5 if norm > 0 else None


def along(merger: Merger, vector: Weights, scale: float | str) -> Adapted:
    """The checkpoint's parameters + scale · `vector`; "validation": of `SCALES` the most accurate, of equals the one of
    least loss."""

    def weights(scale: float) -> Weights:
        return merger.of.with_buffers(merge.add(origin, vector, scale)) if scale else merger.of.origin

    origin = merger.of.learned(merger.of.origin)
    if not isinstance(scale, str):
        return merger.adapted(weights(scale), merged=scale != 0, about={"chosen": {"scale": scale}})
    candidates = {one: merger.judge(f"scale {one}", partial(weights, one), merged=one != 0, at=one) for one in SCALES}
    best = max(candidates, key=lambda one: (candidates[one].accuracy, -candidates[one].nll))
    about = {
        "candidates": [{"scale": one, **candidate._asdict()} for one, candidate in candidates.items()],
        "chosen": {"scale": best, **candidates[best]._asdict()},
    }
    return merger.adapted(weights(best), merged=best != 0, about=about)
