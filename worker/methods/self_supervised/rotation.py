"""`rotation`: by which of four quarter turns an image was turned."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.methods.self_supervised.rotation import Rotation
from worker.data.batches import Batch
from worker.methods.self_supervised import family as pretraining
from worker.methods.task import Adapted, Task
from worker.runtime.contract import Failure, Note
from worker.training.protocols import Losses, Moment

TURNS = 4
HARDLY = 0.4  # a share of turns told apart that is little above chance, 0.25


def run(task: Task, params: Rotation) -> Adapted:
    pretext = pretraining.begin(task, params)
    height, width = pretext.start.learner.input.size
    if height != width:
        raise Failure("does_not_fit", f"Quarter turns need square images; the network takes {height}×{width}.")
    classifier = nn.Linear(pretext.width, TURNS).to(task.run.device)

    def loss(batch: Batch, moment: Moment) -> Losses:
        logits_NK = classifier(pretext.features(batch.x))
        return {"loss": F.cross_entropy(logits_NK, turns(logits_NK)), "rotation_accuracy": right(logits_NK).mean()}

    adapted = pretraining.learn(task, pretext, pretraining.turned(pretext), loss, companions={"turns": classifier})
    upright = replace(pretext, params=pretext.params.model_copy(update={"augmentation": []}))
    accuracy = pretraining.share_recognised(
        task, pretext, pretraining.turned(upright), lambda features_ND: right(classifier(features_ND))
    )
    if accuracy < HARDLY:
        message = f"Only {accuracy:.0%} of the quarter turns are recognised: the images look alike when turned."
        task.run.emit(Note("no_upright", message, "warning"))
    return replace(adapted, transfer=adapted.transfer | {"rotation_accuracy": accuracy})


def turns(logits_NK: Tensor) -> Tensor:
    """int64 [4·B]: how often each row's image was turned, as `views.quarter_turns` orders them."""
    return torch.arange(TURNS, device=logits_NK.device).repeat_interleave(len(logits_NK) // TURNS)


def right(logits_NK: Tensor) -> Tensor:
    """float32 [4·B]: 1 where the turn is told."""
    return (logits_NK.argmax(1) == turns(logits_NK)).float()
