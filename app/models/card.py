"""The card of a model, in Markdown: what it is, from what, how, how good, on which labels, and where it ends."""

from collections.abc import Iterator

from app.contract.evaluation import Ablation, Calibration, Evaluation, Measured
from app.contract.lineage import Lineage
from app.db.tables import DatasetRow, JobRow, ModelRow


def render(model: ModelRow, job: JobRow, dataset: DatasetRow) -> str:
    sections = (_what(model), _origin(model, job, dataset), _how(job), _figures(model), _limits(model, job, dataset))
    return "\n".join(line for section in sections for line in section) + "\n"


def _what(model: ModelRow) -> Iterator[str]:
    network, classes = model.network, model.classes or []
    yield f"# {model.id}"
    yield ""
    kind = "An image classifier" if not model.multi_label else "A classifier that gives an image any number of labels"
    yield f"{kind}: `{network['name']}`, {len(classes)} classes, {model.parameters:,} parameters."
    yield ""
    yield "## What it takes and gives"
    yield ""
    if model.input is not None:
        height, width = model.input["size"]
        colour = "colour" if model.input["channels"] == 3 else "grey"
        yield f"- Images: {height} × {width} pixels, {colour}; others are fitted (`{model.input['fit']}`)."
        mean, std = (_numbers(model.input[name]) for name in ("mean", "std"))
        yield f"- Values: scaled to 0–1, less the mean {mean}, over the deviation {std}."
    yield f"- Classes: {', '.join(_cell(name) for name in classes) or 'unnamed'}."
    yield f"- sha256 of the tensors: `{model.sha256}`."
    yield ""


def _origin(model: ModelRow, job: JobRow, dataset: DatasetRow) -> Iterator[str]:
    lineage = Lineage.load(job.lineage)
    yield "## From what"
    yield ""
    if model.checkpoint is None:
        yield "- Source: none, trained from scratch."
    else:
        yield f"- Source: `{model.checkpoint}`, sha256 `{lineage.checkpoint_sha256}`."
    yield f"- Dataset: `{dataset.id}` ({_cell(dataset.name)}), sha256 `{lineage.dataset_sha256}`."
    yield f"- Job: `{job.id}`, code version {lineage.code_version}."
    yield ""


def _how(job: JobRow) -> Iterator[str]:
    yield "## How"
    yield ""
    yield f"Method `{job.method_name}`, seed {job.seed}:"
    yield ""
    yield "| Parameter | Value |"
    yield "|---|---|"
    for name, value in job.method.items():
        if name not in ("name", "network"):
            yield f"| {name} | {_cell(value)} |"
    yield ""


def _figures(model: ModelRow) -> Iterator[str]:
    evaluation = Evaluation.load(model.evaluation) if model.evaluation else None
    yield "## How good"
    yield ""
    if not evaluation:
        yield "It was not measured."
        yield ""
        return
    yield "Fractions of 1; intervals of 95 %."
    yield ""
    yield "| On | Images | Accuracy | Interval | Balanced | NLL | Calibration error |"
    yield "|---|---|---|---|---|---|---|"
    for domain, measured in (("target", evaluation.target), ("source", evaluation.source)):
        if measured is not None:
            yield _row(domain, measured)
    yield from _partial(evaluation.target)
    yield from _classes(model, evaluation.target)
    yield ""
    calibration = evaluation.target.calibration
    if calibration is not None:
        yield f"Calibrated with temperature {calibration.temperature:.3g}; without it {_uncalibrated(calibration)}."
        yield ""
    if evaluation.guard is not None:
        yield evaluation.guard.verdict
        yield ""
    if evaluation.ablation is not None:
        yield _ablation(evaluation.ablation)
        yield ""
    yield f"Labels used: {evaluation.labels_used}"
    yield ""


def _partial(measured: Measured) -> Iterator[str]:
    """The lines of a card where network and dataset share only some classes."""
    if measured.among_shared is not None:
        among = measured.among_shared.accuracy
        yield ""
        yield (
            f"{measured.taken_for_other_classes} images were taken for classes that the dataset lacks, which is "
            + (f"wrong; were only the shared classes in question, accuracy would be {among:.3f}.")
        )
    if measured.left_out:
        yield ""
        yield f"{measured.left_out} images are of classes that the network does not know; they are in no figure."


def _ablation(ablation: Ablation) -> str:
    verdicts = {
        True: "The source's rule helped",
        False: "The source's rule HARMED",
        None: "Whether it helped is not clear",
    }
    low, high = ablation.interval
    return (
        f"By the source's rule {ablation.with_.accuracy:.3f}, without it {ablation.without.accuracy:.3f}: a "
        f"difference of {ablation.difference:+.3f} (95 %: {low:+.3f} to {high:+.3f}). {verdicts[ablation.helped]}."
    )


def _uncalibrated(calibration: Calibration) -> str:
    before = calibration.before
    return f"NLL {before.nll:.3f}, calibration error {before.ece:.3f}"


def _classes(model: ModelRow, measured: Measured) -> Iterator[str]:
    """Class by class, where each is a question of its own."""
    if measured.average_precision is None:
        return
    mean = "–" if measured.map is None else f"{measured.map:.3f}"
    yield ""
    yield f"Accuracy counts images whose labels are all right. Mean average precision {mean}, " + (
        f"F1 at 0.5 {measured.macro_f1:.3f} (macro), {measured.micro_f1:.3f} (micro)."
    )
    yield ""
    yield "| Class | Average precision | Recall |"
    yield "|---|---|---|"
    names = measured.classes or model.classes or []
    for name, *values in zip(names, measured.average_precision, measured.per_class, strict=True):
        cells = ("–" if value is None else f"{value:.3f}" for value in values)
        yield f"| {_cell(name)} | {' | '.join(cells)} |"


def _row(domain: str, measured: Measured) -> str:
    low, high = measured.accuracy_interval
    return (
        f"| {domain}, {measured.split} split | {measured.n} | {measured.accuracy:.3f} | {low:.3f}–{high:.3f} "
        f"| {measured.balanced_accuracy:.3f} | {measured.nll:.3f} | {measured.ece:.3f} |"
    )


def _limits(model: ModelRow, job: JobRow, dataset: DatasetRow) -> Iterator[str]:
    yield "## Where it ends"
    yield ""
    verb = "says yes or no to each of them" if model.multi_label else "gives one of them"
    yield f"- It knows the classes above and {verb} for every image, whatever the image shows."
    yield f"- The figures hold for images like those of `{dataset.id}`; elsewhere, measure again (method `evaluate`)."
    if job.method.get("labels_per_class") or job.method.get("train_size"):
        yield "- It has seen a narrowed part of the training split."
    if model.not_servable:
        yield f"- It cannot be served from here: {_cell(model.not_servable)}"


def _numbers(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _cell(value: object) -> str:
    """Text that stays in its table cell and is no markup: names come from users."""
    text = " ".join(str(value).split())
    escaped = "".join(f"\\{c}" if c in "\\|`*_<>[]#&~$" else c for c in text)
    return escaped.replace("://", "\\://").replace("www.", "www\\.")  # GitHub makes links of bare addresses
