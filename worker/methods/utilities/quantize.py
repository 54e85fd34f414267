"""`quantize`: a model's graph in eight bits, if it loses no more than it may."""

import numpy as np
import torch
from numpy.typing import NDArray

from app.contract.inputs import InputSpec
from app.contract.quantization import Loss, QuantizationReport
from app.imaging.packed import Split
from app.methods.utilities.quantize import Quantize
from app.serving.predictor import OnnxPredictor, OpenVinoPredictor, Predictor
from worker.export import int8, onnx
from worker.methods import transferred
from worker.methods.task import Adapted, Domain, LabelUse, Quantised, Task
from worker.runtime import device
from worker.runtime.contract import Failure

BATCH = 256
STEPS = 3  # export, quantise, compare


def run(task: Task, params: Quantize) -> Adapted:
    """Jacob et al. 2018, Quantization and training of neural networks for integer-arithmetic-only inference."""
    source, run = task.known_source, task.run
    run.checkpoint_or_stop()
    run.tell(0, STEPS)
    classifier = transferred.unchanged(source)
    full, small = run.workdir / "full.onnx", run.workdir / "int8.onnx"
    try:
        onnx.export(classifier.module, classifier.structure, source.input, full)
    except onnx.NotExportable as error:
        raise Failure(
            "not_servable", f"The network cannot be exported to ONNX, and so not be quantised: {error}."
        ) from error
    run.checkpoint_or_stop()
    run.tell(1, STEPS)
    int8.quantise(full, _sample(task, source.input, params.images), small)
    run.checkpoint_or_stop()
    run.tell(2, STEPS)
    threads = torch.get_num_threads()
    predictors: dict[str, Predictor] = {
        "float32": OnnxPredictor(full, threads),
        params.precision: OpenVinoPredictor(small, threads),
    }
    report, used = _judge(task, params, predictors)
    run.tell(STEPS, STEPS)
    device.place(classifier.module, run.device)
    return Adapted(classifier, source.network, params, LabelUse(0, used), quantised=Quantised(small, report))


def _judge(task: Task, params: Quantize, predictors: dict[str, Predictor]) -> tuple[QuantizationReport, int]:
    """The account of both graphs on the validation and the test split, and how many labels the choice has read.

    Raises:
        Failure: `too_lossy`, it may not be served.
    """
    input, classes = task.known_source.input, task.known_source.classes
    judged = _compare(task.target, "validation", input, classes, predictors)
    if judged is None:
        reason = "has no labelled image of its classes"
        raise Failure("does_not_fit", f"What is lost is measured on the validation split, which {reason}.")
    if judged.accuracy_drop > params.max_accuracy_drop or judged.score_shift > params.max_score_shift:
        raise Failure(
            "too_lossy",
            f"In eight bits {judged.accuracy_drop:.2%} of accuracy would be lost and a score moved by up to "
            f"{judged.score_shift:.3f} on {judged.n} validation images; allowed are "
            f"{params.max_accuracy_drop:.2%} and {params.max_score_shift:.3f}.",
        )
    report = QuantizationReport(
        precision=params.precision,
        max_accuracy_drop=params.max_accuracy_drop,
        max_score_shift=params.max_score_shift,
        validation=judged,
        test=_compare(task.target, "test", input, classes, predictors),
    )
    return report, judged.n


def _compare(
    domain: Domain, split: Split, input: InputSpec, classes: list[str] | None, predictors: dict[str, Predictor]
) -> Loss | None:
    """Accuracies, what is lost of them, and by how much the likeliest class's score moves at most and on the mean.

    None where the split has no labelled image of the network's classes.
    """
    names = classes or domain.classes
    place_K = np.array([names.index(name) if name in names else -1 for name in domain.classes])
    rows = domain.labelled(split)
    rows = rows[place_K[domain.images.label[rows]] >= 0]
    if not len(rows):
        return None
    truth_N = place_K[domain.images.label[rows]]
    full_NK, small_NK = (_probabilities(one, domain, rows, input) for one in predictors.values())
    top_N = full_NK.argmax(1)
    shift_N = np.abs(np.take_along_axis(full_NK - small_NK, top_N[:, None], 1))
    full, small = (float((p_NK.argmax(1) == truth_N).mean()) for p_NK in (full_NK, small_NK))
    return Loss(
        n=len(rows),
        accuracy=dict(zip(predictors, (full, small), strict=True)),
        accuracy_drop=full - small,
        score_shift=float(shift_N.max()),
        mean_score_shift=float(shift_N.mean()),
        agreement=float((small_NK.argmax(1) == top_N).mean()),
    )


def _probabilities(
    predictor: Predictor, domain: Domain, rows: NDArray[np.int64], input: InputSpec
) -> NDArray[np.float32]:
    batches = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    return np.concatenate([predictor.predict(domain.images.fitted(batch, input))[0] for batch in batches])


def _sample(task: Task, input: InputSpec, count: int) -> NDArray[np.uint8]:
    """Training images of the target, evenly spaced: the same for every seed."""
    rows = task.target.images.rows("train")
    if not len(rows):
        raise Failure("does_not_fit", "Quantisation is calibrated on training images, and the training split has none.")
    return task.target.images.fitted(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)], input)
