"""The evidence that a recommendation rests on: every candidate frozen, on images of the target's training split."""

import traceback
from collections.abc import Iterator, Sequence

from app.contract import blobs
from app.contract.blobs import Input
from app.contract.recommendation import Evidence, Measurements, RecommendationSpec, ToLabel
from worker.choosing import evidence, to_label
from worker.choosing.evidence import ChosenRows
from worker.data.memmap import MemmapPolicy
from worker.methods import transferred
from worker.methods.task import Domain, Source
from worker.runtime import device
from worker.runtime.cache import Cache
from worker.runtime.contract import Channel, Failure, Interrupted, Note, Progress, Result, Spec
from worker.runtime.run import Run
from worker.training import accumulation

MOST_TO_LABEL = 500  # images that are ranked


def run(spec: Spec[RecommendationSpec], channel: Channel) -> Result[Measurements]:
    """Measure the candidates in their order; each is told as soon as it is known.

    A candidate that cannot be measured is none for the others: its evidence says why.

    Raises:
        Interrupted: an order to stop was given; nothing is kept, since a measurement takes seconds.
    """
    order = spec.payload
    run = Run(
        channel,
        spec.workdir,
        seed=order.seed,
        device=device.resolve(spec.device),
        cache=None if spec.cache is None else Cache(spec.cache, spec.cache_bytes),
    )
    memmap = MemmapPolicy(spec.workdir, spec.resident_bytes, spec.min_free_bytes)
    target = Domain.open(order.target, spec.inputs[Input.TARGET_PIXELS], spec.inputs[Input.TARGET_INDEX], memmap)
    chosen = evidence.rows(target, order.images, order.labels, order.seed)
    elsewhere = _elsewhere(spec, memmap)
    known = {one.checkpoint: one for one in order.known}
    measured: list[Evidence] = []
    for id_, candidate in order.candidates.items():
        if (command := channel.command()) is not None:
            raise Interrupted(command)
        channel.emit(Progress(len(measured), len(order.candidates)))
        if id_ in known:
            measured.append(known[id_])
        else:
            source = Source.of(candidate, spec.inputs[blobs.teacher_weights(id_)])
            with device.reproducible(run.device, run.seed):
                measured.append(_measured(run, id_, source, target, chosen, elsewhere))
        for note in _notes(measured[-1]):
            channel.emit(note)
    channel.emit(Progress(len(measured), len(order.candidates)))
    with device.reproducible(run.device, run.seed):
        next_ = _to_label(run, spec, target, chosen, measured)
    return Result(Measurements(evidence=measured, to_label=next_))


def _to_label(
    run: Run, spec: Spec[RecommendationSpec], target: Domain, chosen: ChosenRows, measured: Sequence[Evidence]
) -> ToLabel | None:
    """Rank what to label next by the features of the best candidate."""
    order = spec.payload
    unread = to_label.unread(target, order.labels, chosen, order.images, order.seed)
    best = max((one for one in measured if one.failure is None), key=_promise, default=None)
    if best is None or not len(unread.place_N):
        return None
    id_ = best.checkpoint
    source = Source.of(order.candidates[id_], spec.inputs[blobs.teacher_weights(id_)])
    learner = transferred.unchanged(source)
    here, known = (evidence.look(run, source, learner, target, rows) for rows in (unread, chosen))
    read_N = chosen.label_N >= 0
    rule, places = to_label.order(here.x_ND, known.x_ND[read_N], chosen.label_N[read_N], MOST_TO_LABEL)
    return ToLabel(checkpoint=id_, rule=rule, rows=unread.place_N[places].tolist())


def _promise(one: Evidence) -> tuple[float, float]:
    probe, unchanged = one.probe, one.unchanged
    return 0.0 if probe is None else probe.accuracy, 0.0 if unchanged is None else unchanged.accuracy


def _elsewhere(spec: Spec[RecommendationSpec], memmap: MemmapPolicy) -> tuple[Domain, ChosenRows] | None:
    """Choose as many images of the source's dataset; nobody reads their labels."""
    known = spec.payload.source_dataset
    if known is None:
        return None
    pixels, index = spec.inputs[Input.SOURCE_DATASET_PIXELS], spec.inputs[Input.SOURCE_DATASET_INDEX]
    domain = Domain.open(known, pixels, index, memmap)
    return domain, evidence.rows(domain, spec.payload.images, 0, spec.payload.seed)


def _measured(
    run: Run, id_: str, source: Source, target: Domain, chosen: ChosenRows, elsewhere: tuple[Domain, ChosenRows] | None
) -> Evidence:
    try:
        return evidence.measure(run, id_, source, target, chosen, elsewhere)
    except Interrupted:
        raise
    except Failure as failure:
        return Evidence(checkpoint=id_, failure=failure.message)
    except Exception as error:  # noqa: BLE001  # whatever a network does with images that it was not made for
        if accumulation.ran_out(error):
            return Evidence(checkpoint=id_, failure="Memory ran out.")
        traceback.print_exc()
        return Evidence(checkpoint=id_, failure=f"{type(error).__name__}: {error}")


def _notes(measured: Evidence) -> Iterator[Note]:
    if measured.failure is None:
        message = f"{measured.checkpoint} was measured on {measured.images} images."
    else:
        message = f"{measured.checkpoint} could not be measured: {measured.failure}"
        yield Note("not_measured", message, "warning")
    yield Note("evidence", message, data=measured.dump())
