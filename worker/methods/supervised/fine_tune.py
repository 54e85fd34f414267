"""`fine_tune`: the source's weights go on learning on the target's labels, the head first."""

from app.methods.supervised.fine_tune import FineTune
from worker.methods import supervision, transferred
from worker.methods.supervised import tuning
from worker.methods.task import Adapted, Task


def run(task: Task, params: FineTune) -> Adapted:
    """Fine-tune the source's network on the target's labelled images (Yosinski et al. 2014).

    The loss is the cross-entropy on the labels (of several labels an image: the binary one, the mean over the classes)
    plus the regularisers in `params.terms`, each at its weight.  In the first `frozen_epochs` the head learns alone,
    all else frozen, running statistics of batch norm too; then what `trainable` names.  The learning rate of a weight
    is `learning_rate` × `head_factor` or `backbone_factor`, less in earlier stages where `stage_decay` is below 1, and
    follows one schedule over all epochs.  The weights of the epoch that validated best are the result; without a
    validation split, the last.
    """
    # The source's weights; its head where the target's classes have the same names, else one that is newly drawn.
    start = transferred.start(task, params.input)
    learner = start.learner
    # Labelled training and validation images, no more of each than `labels_per_class` and `train_size` allow.
    examples = supervision.examples(task.run, task.target, params, learner.input, start.classes)
    # Epochs, batch size, learning rate and augmentation that were left open, by the number and the size of the images.
    params = params.resolve(len(examples.train), learner.input.size)
    # For each epoch what learns; for each weight its share of the learning rate.
    scope = tuning.scope(params, learner.structure)
    # Trains `learner` in place; gives the modules that terms trained beside it.
    companions = supervision.learn(task, learner, params, examples, scope)
    report = start.report | {"trainable": tuning.trainable(params, learner.structure)}
    # `lwf` lets the source's head go on learning, so that the source's task can be measured, too.
    return Adapted(learner, start.spec, params, examples.use, report, source_head=companions.get("lwf"))
