"""`simclr`: an image's two views know each other among all of the batch."""

from app.methods.self_supervised.simclr import SimClr
from worker.data.batches import Batch
from worker.methods.self_supervised import family as pretraining
from worker.methods.task import Adapted, Task
from worker.terms import views
from worker.training.protocols import Losses, Moment


def run(task: Task, params: SimClr) -> Adapted:
    pretext = pretraining.begin(task, params)
    projector = pretraining.projector(task, [pretext.width, params.hidden, params.dimensions])

    def loss(batch: Batch, moment: Moment) -> Losses:
        z_BD, other_BD = projector(pretext.features(batch.x)).chunk(2)
        return {"loss": views.nt_xent(z_BD, other_BD, params.temperature)}

    return pretraining.learn(task, pretext, pretraining.two(pretext), loss, companions={"projector": projector})
