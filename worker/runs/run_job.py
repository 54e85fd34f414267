"""A job, from its spec to its result: open what it needs, run the method, measure, export."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.recipe import Recipe
from app.methods.cross_domain.family import Selecting
from app.methods.fusion.distil_ensemble import DistilEnsemble
from app.methods.fusion.family import Fusing
from app.methods.generalisation.family import Generalisation
from app.methods.registry import parse
from app.methods.source_free.family import SourceFree
from app.methods.training import Guardable, Training
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

# Whose result always stands beside the unchanged source: no labels of the target have told them that they help.
COMPARED = (Selecting, SourceFree, Generalisation, Fusing, DistilEnsemble)


def run(spec: Spec, channel: Channel) -> Result:
    """`spec.payload`: {method, seed, source, target, source_dataset}; see `app.jobs.service.spec_payload`.

    Raises:
        Failure, Interrupted: from the method.
    """
    payload = spec.payload
    run = Run(
        channel,
        spec.workdir,
        seed=payload["seed"],
        device=device.resolve(spec.device),
        snapshot=spec.snapshot,
        snapshot_every_s=spec.snapshot_every_s,
        cache=None if spec.cache is None else Cache(spec.cache, spec.cache_bytes),
    )
    params = parse(payload["method"])
    with device.reproducible(run.device, run.seed, run.threads):
        task = _task(run, payload, spec.inputs, Room(spec.workdir, spec.resident_bytes, spec.min_free_bytes))
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
    guarded = isinstance(params, Guardable) and params.guard
    if guarded:
        guard.expect(task, params)
    adapted = METHODS[params.name](task, params)
    against = guard.contenders(task, adapted) if guarded else []
    if isinstance(params, Training) and params.calibrate:
        adapted = calibration.calibrate(task, adapted, params)
    adapted = replace(adapted, transfer=adapted.transfer | {"drift": drift.measure(task, adapted)})
    if task.run.part_size is not None:
        adapted = replace(adapted, transfer=adapted.transfer | {"micro_batch_size": task.run.part_size})
    if task.run.pace is not None:
        adapted = replace(adapted, transfer=adapted.transfer | {"pace": task.run.pace})
    evaluation = measure.evaluation(task, adapted)
    if adapted.without is not None and evaluation is not None:
        evaluation["ablation"] = ablation.judge(task, adapted, adapted.without)
    if guarded and evaluation is not None:
        evaluation["guard"] = guard.judge(task, adapted, against)
    if isinstance(params, COMPARED) and evaluation is not None:
        evaluation["guard"] = guard.against_unchanged(task, adapted)
    return adapted, evaluation


def _task(run: Run, payload: Mapping[str, Any], inputs: Mapping[str, Path], room: Room) -> Task:
    def domain(document: Mapping[str, Any], role: str) -> Domain:
        return Domain.open(document, inputs[f"{role}.pixels"], inputs[f"{role}.index"], room)

    target = domain(payload["target"], "target")
    return Task(
        run,
        target=target,
        source=_source(payload["source"], inputs["source.weights"]) if payload["source"] else None,
        source_domain=domain(payload["source_dataset"], "source_dataset") if payload["source_dataset"] else None,
        teachers={
            id_: _source(document, inputs[f"teacher.{id_}.weights"]) for id_, document in payload["teachers"].items()
        },
        environments={
            id_: target if document == payload["target"] else domain(document, f"environment.{id_}")
            for id_, document in payload["environments"].items()
        },
    )


def _source(document: Mapping[str, Any], weights: Path) -> Source:
    return Source(
        network=NetworkSpec.model_validate(document["network"]),
        input=InputSpec.model_validate(document["input"]),
        classes=document["classes"],
        recipe=document["recipe"],
        weights=weights,
        multi_label=document.get("multi_label", False),
        untrained_head=document.get("untrained_head", False),
        drawn=tuple(document.get("drawn", ())),
    )


def _packaged(adapted: Adapted, document: dict[str, Any], spec: Spec, *, multi_label: bool) -> Result:
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
