"""A job, from its spec to its result: open what it needs, run the method, measure, export."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.contract import blobs
from app.contract.blobs import Input
from app.contract.recipe import Recipe
from app.contract.specs import RunSpec
from app.methods.base import Method
from worker.data.memmap import Room
from worker.export import package
from worker.methods import measure
from worker.methods.registry import METHODS
from worker.methods.task import Adapted, Domain, Source, Task
from worker.runs import ablation, calibration, drift, guard
from worker.runtime import device
from worker.runtime.cache import Cache
from worker.runtime.contract import Channel, Note, Result, Spec
from worker.runtime.run import Run


def run(spec: Spec[RunSpec[Method]], channel: Channel) -> Result:
    """Run a job's method, and give what came of it: figures, and weights and graph where it makes a model.

    Raises:
        Failure, Interrupted: from the method.
    """
    told = spec.payload
    run = Run(
        channel,
        spec.workdir,
        seed=told.seed,
        device=device.resolve(spec.device),
        snapshot=spec.snapshot,
        snapshot_every_s=spec.snapshot_every_s,
        cache=None if spec.cache is None else Cache(spec.cache, spec.cache_bytes),
    )
    params = told.method
    with device.reproducible(run.device, run.seed, run.threads):
        task = _task(run, told, spec.inputs, Room(spec.workdir, spec.resident_bytes, spec.min_free_bytes))
        channel.emit(Note("training" if params.info.gives_model else "measuring", f"On {run.device}."))
        adapted, evaluation = _adapt(task, params)
    document = {"method": adapted.params.model_dump(mode="json"), "evaluation": evaluation}
    if adapted.quantised is not None:
        return Result(document | {"quantization": adapted.quantised.document}, {"quantized": adapted.quantised.graph})
    if not params.info.gives_model:
        return Result(document)
    channel.emit(Note("exporting", "Writing weights and graph, and comparing the two."))
    return _packaged(adapted, document, spec, multi_label=task.target.multi_label)


def _adapt(task: Task, params: Any) -> tuple[Adapted, dict[str, Any] | None]:
    """All learning first, then the test splits."""
    if params.guarded:
        guard.expect(task, params)
    adapted = METHODS[params.name](task, params)
    against = guard.contenders(task, adapted) if params.guarded else []
    if params.calibrated:
        adapted = calibration.calibrate(task, adapted, params)
    adapted = replace(adapted, transfer=adapted.transfer | {"drift": drift.measure(task, adapted)})
    if task.run.part_size is not None:
        adapted = replace(adapted, transfer=adapted.transfer | {"micro_batch_size": task.run.part_size})
    if task.run.pace is not None:
        adapted = replace(adapted, transfer=adapted.transfer | {"pace": task.run.pace})
    evaluation = measure.evaluation(task, adapted)
    if adapted.without is not None and evaluation is not None:
        evaluation["ablation"] = ablation.judge(task, adapted, adapted.without)
    if params.guarded and evaluation is not None:
        evaluation["guard"] = guard.judge(task, adapted, against)
    if params.compared and evaluation is not None:
        evaluation["guard"] = guard.against_unchanged(task, adapted)
    return adapted, evaluation


def _task(run: Run, told: RunSpec[Method], inputs: Mapping[str, Path], room: Room) -> Task:
    target = Domain.open(told.target, inputs[Input.TARGET_PIXELS], inputs[Input.TARGET_INDEX], room)
    known = told.source_dataset
    return Task(
        run,
        target=target,
        source=None if told.source is None else Source.of(told.source, inputs[Input.SOURCE_WEIGHTS]),
        source_domain=None
        if known is None
        else Domain.open(known, inputs[Input.SOURCE_DATASET_PIXELS], inputs[Input.SOURCE_DATASET_INDEX], room),
        teachers={id_: Source.of(spec, inputs[blobs.teacher_weights(id_)]) for id_, spec in told.teachers.items()},
        environments={
            id_: target
            if spec == told.target
            else Domain.open(spec, inputs[blobs.environment_pixels(id_)], inputs[blobs.environment_index(id_)], room)
            for id_, spec in told.environments.items()
        },
    )


def _packaged(adapted: Adapted, document: dict[str, Any], spec: Spec[RunSpec[Method]], *, multi_label: bool) -> Result:
    artifacts, exported = package.package(
        adapted.classifier.module,
        adapted.classifier.structure,
        adapted.classifier.input,
        spec.workdir,
        package.metadata(
            adapted.spec,
            adapted.classifier.input,
            adapted.classifier.classes,
            multi_label=multi_label,
            untrained_head=adapted.headless,
        ),
        multi_label=multi_label,
    )
    if adapted.adapter is not None:
        artifacts["adapter"] = package.write_adapter(adapted.adapter.tensors, adapted.adapter.config, spec.workdir)
    about = {
        "network": adapted.spec.model_dump(mode="json"),
        "input": adapted.classifier.input.model_dump(mode="json"),
        "classes": adapted.classifier.classes,
        "multi_label": multi_label,
        "recipe": Recipe.of(adapted.params, adapted.classifier.input).document(),
        "transfer": adapted.transfer,
        "untrained_head": adapted.headless,
    }
    return Result(document | about | exported, artifacts)
