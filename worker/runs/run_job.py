"""A job, from its spec to its result: open what it needs, run the method, measure, export."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.contract import blobs
from app.contract.blobs import Artifact, Input
from app.contract.evaluation import Evaluation
from app.contract.inputs import InputOverride
from app.contract.recipe import Recipe
from app.contract.results import AdaptedResult, LearnedResult, QuantizedResult, RunResult
from app.contract.specs import Race, RunSpec
from app.methods.base import Method
from worker.data.memmap import MemmapPolicy
from worker.export import package
from worker.methods import inputs as contracts
from worker.methods import measure
from worker.methods.registry import METHODS
from worker.methods.task import Adapted, Domain, Source, Task
from worker.networks import misfits
from worker.runs import ablation, calibration, drift, guard, reference
from worker.runtime import device
from worker.runtime.cache import Cache
from worker.runtime.contract import Channel, Failure, Note, Result, Spec
from worker.runtime.rehearsal import Rehearsal
from worker.runtime.run import Run, Rung


@dataclass(frozen=True)
class Measured:
    """The results of a job and all that is told of them: everything but the files.

    `outcome` has method and evaluation; where a model is made also its network, input, classes, recipe and transfer.
    """

    adapted: Adapted
    outcome: RunResult

    @property
    def document(self) -> dict[str, Any]:
        """The outcome as JSON."""
        return self.outcome.dump()

    @property
    def multi_label(self) -> bool:
        return isinstance(self.outcome, LearnedResult) and self.outcome.multi_label

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the weights file."""
        return package.metadata(
            self.adapted.spec,
            self.adapted.classifier.input,
            self.adapted.classifier.classes,
            multi_label=self.multi_label,
            untrained_head=self.adapted.headless,
        )


def run(spec: Spec[RunSpec[Method]], channel: Channel) -> Result[RunResult]:
    """Run a job to its end: learn, measure, and write the files.

    Raises:
        Failure, Interrupted: from the method.
    """
    measured = learn(spec, channel)
    if (quantised := measured.adapted.quantised) is not None:
        return Result(measured.outcome, {Artifact.QUANTIZED: quantised.graph})
    if not isinstance(measured.outcome, LearnedResult):
        return Result(measured.outcome)
    channel.emit(Note("exporting", "Writing weights and graph, and comparing the two."))
    return packaged(measured, spec.workdir)


def learn(spec: Spec[RunSpec[Method]], channel: Channel, rehearsal: Rehearsal | None = None) -> Measured:
    """Run a job up to its files, or rehearse that: open what it needs, run the method, measure.

    Raises:
        Failure, Interrupted: from the method.
    """
    job = spec.payload
    run = Run(
        channel,
        spec.workdir,
        seed=job.seed,
        device=device.resolve(spec.device),
        snapshot=spec.snapshot,
        snapshot_every_s=spec.snapshot_every_s,
        cache=None if spec.cache is None else Cache(spec.cache, spec.cache_bytes),
        rehearsal=rehearsal,
    )
    params = job.method
    with device.reproducible(run.device, run.seed, run.threads):
        task = _task(run, job, spec.inputs, MemmapPolicy(spec.workdir, spec.resident_bytes, spec.min_free_bytes))
        channel.emit(Note("training" if params.info.gives_model else "measuring", f"On {run.device}."))
        if job.race is not None:
            run.rung = _rung(task, params, job.race)
        adapted, evaluation = _adapt(task, params)
        gives_model = params.info.gives_model and adapted.quantised is None
        measured = reference.measure(task, adapted) if gives_model else None
        if run.rung is not None:
            run.score_at_end(run.rung.judge(adapted.classifier))
    if adapted.quantised is not None:
        report = adapted.quantised.report
        quantized = QuantizedResult(method=adapted.params, evaluation=evaluation, quantization=report)
        return Measured(adapted, quantized)
    if not params.info.gives_model:
        return Measured(adapted, RunResult(method=adapted.params, evaluation=evaluation))
    learned = LearnedResult(
        method=adapted.params,
        evaluation=evaluation,
        network=adapted.spec,
        input=adapted.classifier.input,
        classes=adapted.classifier.classes,
        multi_label=task.target.multi_label,
        recipe=Recipe.of(adapted.params, adapted.classifier.input),
        transfer=adapted.transfer,
        untrained_head=adapted.headless,
        reference=measured,
    )
    return Measured(adapted, learned)


def packaged(measured: Measured, workdir: Path) -> Result[AdaptedResult]:
    """Write the weights, the graph and the adapter of a model into `workdir`."""
    adapted, learned = measured.adapted, measured.outcome
    assert isinstance(learned, LearnedResult), "the method gives no model"
    artifacts, packaged = package.package(
        adapted.classifier.module,
        adapted.classifier.structure,
        adapted.classifier.input,
        workdir,
        measured.metadata,
        multi_label=measured.multi_label,
    )
    if adapted.adapter is not None:
        tensors, config = adapted.adapter.tensors, adapted.adapter.config
        artifacts[Artifact.ADAPTER] = package.write_adapter(tensors, config, workdir)
    return Result(AdaptedResult.model_validate(dict(learned) | dict(packaged)), artifacts)


def _rung(task: Task, params: Any, race: Race) -> Rung:
    """The rung of a job in a tournament, judged on the validation labels that the job may see.

    Raises:
        Failure: `does_not_fit`, there are none.
    """
    rows = task.target.labelled("validation")
    if params.limits_labels:
        rows = task.target.within(rows, params, task.run.seed)
    if not len(rows):
        raise Failure("does_not_fit", "A tournament judges on validation labels, and there are none.")
    return Rung(race.pause_after, lambda classifier: measure.right(task.run, classifier, task.target, rows))


def _adapt(task: Task, params: Any) -> tuple[Adapted, Evaluation | None]:
    """All learning first, then the test splits."""
    if params.guarded:
        guard.expect(task, params)
    adapted = METHODS[params.name](task, params)
    against = guard.contenders(task, adapted) if params.guarded else []
    if params.calibrated:
        adapted = calibration.calibrate(task, adapted, params)
    adapted = replace(adapted, transfer=adapted.transfer | {"drift": drift.measure(task, adapted)})
    if task.run.micro_batch_size is not None:
        adapted = replace(adapted, transfer=adapted.transfer | {"micro_batch_size": task.run.micro_batch_size})
    if task.run.numerics is not None:
        adapted = replace(adapted, transfer=adapted.transfer | {"pace": task.run.numerics})
    evaluation = measure.evaluation(task, adapted)
    if adapted.without is not None and evaluation is not None:
        evaluation = evaluation.model_copy(update={"ablation": ablation.judge(task, adapted, adapted.without)})
    if params.guarded and evaluation is not None:
        evaluation = evaluation.model_copy(update={"guard": guard.judge(task, adapted, against)})
    if params.compared and evaluation is not None:
        evaluation = evaluation.model_copy(update={"guard": guard.against_unchanged(task, adapted)})
    return adapted, evaluation


def _source(run: Run, job: RunSpec[Method], inputs: Mapping[str, Path]) -> Source | None:
    """The source, at the size that the job brings it to: all that is done with it, comparisons too, is at one size.

    How the target's images are fitted into that is the method's, and nothing to the source's own.
    """
    if job.source is None:
        return None
    source = Source.of(job.source, inputs[Input.SOURCE_WEIGHTS])
    seen = contracts.resized(source, InputOverride(size=job.method.source_size))
    if seen.input.size != source.input.size:
        message = f"The source takes {misfits.size(source.input)} images; here it sees {misfits.size(seen.input)} ones."
        run.emit(Note("input_size", message))
    return seen


def _task(run: Run, job: RunSpec[Method], inputs: Mapping[str, Path], memmap: MemmapPolicy) -> Task:
    target = Domain.open(job.target, inputs[Input.TARGET_PIXELS], inputs[Input.TARGET_INDEX], memmap)
    known = job.source_dataset
    return Task(
        run,
        target=target,
        source=_source(run, job, inputs),
        source_domain=None
        if known is None
        else Domain.open(known, inputs[Input.SOURCE_DATASET_PIXELS], inputs[Input.SOURCE_DATASET_INDEX], memmap),
        teachers={id_: Source.of(spec, inputs[blobs.teacher_weights(id_)]) for id_, spec in job.teachers.items()},
        environments={
            id_: target
            if spec == job.target
            else Domain.open(spec, inputs[blobs.environment_pixels(id_)], inputs[blobs.environment_index(id_)], memmap)
            for id_, spec in job.environments.items()
        },
    )
