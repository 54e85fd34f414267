"""`vicreg`: two views alike, every dimension alive, no two dimensions alike."""

from app.methods.self_supervised.vicreg import VicReg
from worker.data.batches import Batch
from worker.methods.self_supervised import family as pretraining
from worker.methods.task import Adapted, Task
from worker.terms import views
from worker.training.protocols import Losses, Moment


def run(task: Task, params: VicReg) -> Adapted:
    pretext = pretraining.begin(task, params)
    expander = pretraining.projector(task, [pretext.width, params.hidden, params.hidden, params.dimensions])

    def loss(batch: Batch, moment: Moment) -> Losses:
        z_BD, other_BD = expander(pretext.features(batch.x)).chunk(2)
        alike, alive, apart = views.vicreg(z_BD, other_BD)
        whole = params.invariance * alike + params.variance * alive + params.covariance * apart
        return {"loss": whole, "invariance": alike, "variance": alive, "covariance": apart}

    return pretraining.learn(task, pretext, pretraining.two(pretext), loss, companions={"expander": expander})
