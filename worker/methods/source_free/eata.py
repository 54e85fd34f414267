"""`eata`: norms moved by sure predictions that are unlike each other, and held near the source's."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from app.methods.source_free.eata import Eata
from worker.data import batches as data
from worker.data.batches import Batch, Prepare
from worker.methods.source_free import on_norms
from worker.methods.source_free.on_norms import Aim, Begun
from worker.methods.task import Adapted, Task
from worker.metrics.share import Share
from worker.networks.norms import scaled
from worker.runtime import device
from worker.terms import information, reliable
from worker.training import fisher, statistics
from worker.training.protocols import Losses, Moment

USUAL_COSINE = 1.3  # × 1/√K, the cosine of one class with all alike; the authors' are 1.26 of 10, 1.58 of 1,000 classes


def run(task: Task, params: Eata) -> Adapted:
    """Niu et al. 2022, on a set of images instead of a stream."""
    classes = task.known_source.network.num_classes
    if params.cosine_margin is None:
        params = params.model_copy(update={"cosine_margin": min(1.0, USUAL_COSINE / math.sqrt(classes))})
    begun = on_norms.begin(task, params, batch_norm_alone=False)
    near = _Near(begun, params)
    seen, taken = reliable.Seen(), Share()
    margin, cosine = params.entropy_margin * math.log(classes), params.cosine_margin
    assert cosine is not None

    def loss(batch: Batch, moment: Moment) -> Losses:
        """Eq. 2, 6 and 8."""
        logits_BK = begun.learner.module(batch.x)
        entropy_B, p_BK = information.entropy(logits_BK), logits_BK.softmax(1)
        weight_B = reliable.weights(entropy_B, margin)
        taken_B = (weight_B > 0) & seen.new(p_BK, cosine)
        seen.add(p_BK[taken_B])
        taken.add(taken_B.float().mean())
        surer, forgetting = reliable.mean(weight_B * entropy_B, taken_B), near.distance()
        return {
            "loss": surer + params.anti_forgetting * forgetting,
            "entropy": entropy_B.mean(),
            "taken": taken_B.float().mean(),
            "forgetting": forgetting,
        }

    adapted = begun.fit(Aim(loss, {"seen": seen}, taken))
    return replace(adapted, transfer=adapted.transfer | near.report)


class _Near:
    """The source's scales and shifts, and how much its answers hang on each."""

    def __init__(self, begun: Begun, params: Eata) -> None:
        module = begun.learner.module
        names = [f"{path}.{name}" for path, norm in scaled(module).items() for name, _ in norm.named_parameters()]
        parameters = dict(module.named_parameters())
        self._parameters = {name: parameters[name] for name in dict.fromkeys(names)}
        self._source = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._information: dict[str, Tensor] = {}
        self.report: dict[str, object] = {}
        if params.anti_forgetting:
            self._weigh(begun, params.images)

    def distance(self) -> Tensor:
        """R, eq. 7: the squared distance from the source, each weight by its information; 0 where that is not asked."""
        parts = [
            (information * (self._parameters[name] - self._source[name]).square()).sum()
            for name, information in self._information.items()
        ]
        return torch.stack(parts).sum() if parts else torch.zeros(())

    def _weigh(self, begun: Begun, most: int) -> None:
        """The information of what the source predicts of images like its own; where these are not known, of the
        target's, under their statistics."""
        task, module, spec = begun.task, begun.learner.module, begun.learner.input
        domain = task.source_domain
        of_source = domain is not None and len(domain.images.rows("train")) > 0
        if domain is None or not of_source:
            domain = task.target
        else:
            spec = task.known_source.input.model_copy(update={"size": spec.size})
        rows = domain.images.rows("train")
        rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
        images, prepare = domain.unlabelled(rows, spec), Prepare(spec, task.run.device, device.memory_format(module))

        def batches(size: int) -> Iterator[Tensor]:
            cut = data.image_batches(task.run, images, prepare=prepare, batch_size=size, stream="information")
            for batch in cut.epoch(0):
                task.run.checkpoint_or_stop()
                yield batch.x

        def surprise(x_1CHW: Tensor) -> Tensor:
            logits_1K = module(x_1CHW)
            return F.cross_entropy(logits_1K, logits_1K.argmax(1))

        with nullcontext() if of_source else statistics.under(module, batches(begun.params.schedule.batch_size)):
            self._information = fisher.information(self._parameters, batches(1), surprise)
        self.report = {"information": {"of": "source_dataset" if of_source else "dataset", "images": len(rows)}}
