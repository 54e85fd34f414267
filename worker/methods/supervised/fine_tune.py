"""`fine_tune`: the source's weights go on learning on the target's labels, the head first."""

from app.methods.supervised.fine_tune import FineTune
from worker.methods import supervision, transferred
from worker.methods.supervised import probing, tuning
from worker.methods.task import Adapted, Task


def run(task: Task, params: FineTune) -> Adapted:
    """Fine-tune the source's network on the target's labelled images (Yosinski et al. 2014).

    The loss is the cross-entropy on the labels (where an image may have several: the binary one, averaged over the
    classes) plus the regularisers in `params.terms`, each at its weight and on its schedule.  A new head learns alone
    before that, as `head_start` says (Kumar et al. 2022), or in the first `frozen_epochs`; then what `trainable` names,
    at once or, with `unfreeze_every`, stage by stage from the head down.  What does not learn is frozen, running
    statistics of batch norm too.  The learning rate of a weight is `learning_rate` × `head_factor` or
    `backbone_factor`, less by `stage_decay` for each stage that lies between it and the head, and follows one schedule
    over all epochs.  The weights of the epoch that validated best, of any phase, are the result; without a validation
    split, the last.
    """
    # The source's weights; its head where the target's classes have the same names, else one that is newly drawn.
    start = transferred.start(task, params.input)
    learner = start.learner
    # Labelled training and validation images, within the label budget.
    examples = supervision.examples(task.run, task.target, params, learner.input, start.classes)
    # What was left open: the head's start by whether it is new, epochs and batch size by the number of images,
    # augmentation by their size, the rate by the optimiser.
    params = params.starting(head_kept=start.report.head == "kept").resolve(len(examples.train), learner.input.size)
    if params.head_start == "probe":
        first = params.probing().resolve(len(examples.train), learner.input.size)
        task.run.expect(supervision.steps(first.schedule, examples) + supervision.steps(params.schedule, examples))
        probing.probe(task, learner, first, examples, run=task.run.part("probe"))
    # For each epoch what learns; for each weight its share of the learning rate.
    scope = tuning.scope(params, learner)
    # Trains `learner` in place; returns the modules that terms trained beside it, by the name of the term.
    companions = supervision.learn(task, learner, params, examples, scope)
    report = start.report | {"trainable": tuning.trainable(params, learner)}
    # `lwf` (learning without forgetting) trains the source's head on, so that the source's task can be measured, too.
    return Adapted(learner, start.spec, params, examples.use, report, source_head=companions.get("lwf"))
