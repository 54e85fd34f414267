"""`mae`: masked patches of images, painted from those that are seen."""

from app.methods.self_supervised.mae import Mae
from worker.data.batches import Batch
from worker.methods.self_supervised import family as pretraining
from worker.methods.task import Adapted, Task
from worker.networks import masked_patches, plain_transformer
from worker.networks.masked_patches import Painter
from worker.runtime.contract import Failure
from worker.training.protocols import Losses, Moment


def run(task: Task, params: Mae) -> Adapted:
    """He et al. 2022, section 3: the mean squared error of the patches that are masked."""
    pretext = pretraining.begin(task, params)
    learner = pretext.start.learner
    transformer = plain_transformer.of(learner.module)
    patches = transformer.patches(learner.input.size)
    seen = max(1, round(patches * (1 - params.mask)))
    if seen >= patches:
        raise Failure("does_not_fit", f"Of {patches} patches none is masked: take a larger `input`, or mask more.")
    pixels = transformer.patch[0] * transformer.patch[1] * learner.input.channels
    painter = Painter(transformer, learner.input.size, pixels, params.dimensions, params.blocks).to(task.run.device)

    def loss(batch: Batch, moment: Moment) -> Losses:
        generator = task.run.generator("mask", str(moment.step))
        seen_BV, masked_BM = masked_patches.sampled(len(batch.x), patches, seen, generator, batch.x.device)
        token_BTD = masked_patches.encoded(learner.module, transformer, batch.x, seen_BV)
        target_BNP = masked_patches.cut(batch.x, transformer.patch, normalised=params.normalised)
        return {"loss": masked_patches.error(painter(token_BTD, seen_BV), target_BNP, masked_BM)}

    return pretraining.learn(task, pretext, pretraining.once(pretext), loss, companions={"painter": painter})
