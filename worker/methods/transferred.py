"""The start of a transfer, from a source to a network for the target: the source's weights, and a new head where the
classes differ."""

from dataclasses import dataclass, replace

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.contract import grafted
from app.contract.inputs import InputOverride, InputSpec
from app.contract.layers import with_classes
from app.contract.networks import NetworkSpec
from app.contract.transfer import TensorReport, TransferReport
from worker.methods import inputs
from worker.methods.task import Domain, Source, Task
from worker.networks import load, stem
from worker.networks.classifier import Classifier
from worker.networks.grafted import BACKBONE
from worker.runtime import device
from worker.runtime.contract import Failure


@dataclass(frozen=True)
class Start:
    """The start of a transfer; `report` says of each tensor where it comes from."""

    spec: NetworkSpec
    learner: Classifier
    classes: list[str]
    report: TransferReport


def start(task: Task, override: InputOverride | None, learned: list[str] | None = None) -> Start:
    """The source's network on the run's device, ready to learn the classes `learned`: left out, the target's.

    Its head is kept where these are the source's by name, and labels of one kind; else a new one is drawn.  A grafted
    source gives the network that was grafted on: a fitted head does not go on learning.
    """
    source = inputs.resized(task.known_source, override)
    spec, classes = source.network, source.classes
    learned = task.target.classes if learned is None else learned
    same = classes is not None and set(classes) == set(learned) and task.same_kind
    kept = same and spec.name != grafted.NAME
    if not kept or classes is None:
        classes = learned
        spec = with_classes(spec, len(classes))
    input = source.input
    loaded = load.make(spec, input, tensors(source), without_heads=not kept)
    device.place(loaded.network, task.run.device)
    head = "kept" if kept else "new"
    loaded.report.was_drawn(source.drawn)
    report = TransferReport(tensors=loaded.report.document(), head=head, adapters=adapters(task.target, input))
    return Start(spec, Classifier(loaded.network, loaded.structure, input, classes), classes, report)


def take_over(source: Source, learner: Classifier, *, with_head: bool) -> TensorReport:
    """Copy what of the source's weights has a place in a network for other images; gives the report on every tensor.

    `with_head`: the head's, too.
    """
    weights = learner.module.state_dict()
    source_tensors = tensors(source)
    if not with_head:
        source_tensors = load.beneath(learner.structure, source_tensors)
    fitting, report = load.match(stem.recoloured(source_tensors, weights), weights)
    with torch.no_grad():
        for name, tensor in fitting.items():
            weights[name].copy_(tensor)
    report.was_drawn(source.drawn)
    return report.document()


def itself(task: Task, override: InputOverride | None) -> tuple[Classifier, TransferReport]:
    """The source's network with its own head and classes, on the run's device, in evaluation mode; and where its
    tensors come from.

    Raises:
        Failure: `does_not_fit`, the target has classes that the source does not know.
    """
    source = inputs.resized(task.known_source, override)
    unknown = [name for name in task.target.classes if name not in (source.classes or task.target.classes)]
    if unknown:
        raise Failure(
            "does_not_fit", f"Without labels no class can be learnt that the source does not know: {unknown}."
        )
    loaded = load.make(source.network, source.input, _weights(source))
    device.place(loaded.network.eval(), task.run.device)
    loaded.report.was_drawn(source.drawn)
    report = TransferReport(tensors=loaded.report.document(), head="kept", adapters=adapters(task.target, source.input))
    return Classifier(loaded.network, loaded.structure, source.input, source.classes), report


def unchanged(source: Source) -> Classifier:
    """The source as it is, on the CPU, in evaluation mode."""
    loaded = load.make(source.network, source.input, _weights(source))
    return Classifier(loaded.network.requires_grad_(False).eval(), loaded.structure, source.input, source.classes)


def frozen(source: Source, on: torch.device) -> Classifier:
    """The source as it is, on a device, for others to look at."""
    classifier = unchanged(source)
    device.place(classifier.module, on)
    return classifier


def base(source: Source) -> Source:
    """The source that a student starts from: of a grafted one the network under the head, whose classes nobody
    knows."""
    if source.network.name != grafted.NAME:
        return source
    return replace(source, network=grafted.backbone(source.network), classes=None, prefix=f"{BACKBONE}.")


def tensors(source: Source) -> dict[str, Tensor]:
    """The base's, by its own names."""
    return _weights(base(source))


def _weights(source: Source) -> dict[str, Tensor]:
    stored, prefix = load_file(source.weights), source.prefix
    return {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}


def adapters(domain: Domain, input: InputSpec) -> list[str]:
    """Descriptions of how the dataset's images come to the network's input."""
    height, width = input.size
    image = domain.image
    descriptions = []
    if image is None:
        descriptions.append(f"images of mixed sizes → {height}×{width}, {_colour(input.channels)}")
    else:
        if image.channels != input.channels:
            descriptions.append(f"{_colour(image.channels)} → {_colour(input.channels)}")
        if (image.height, image.width) != (height, width) or input.margin:
            descriptions.append(f"{image.height}×{image.width} → {height}×{width}")
    if descriptions:
        descriptions.append(f"fit: {input.fit}" + (f", margin {input.margin}" if input.margin else ""))
    return descriptions


def _colour(channels: int) -> str:
    return "grey" if channels == 1 else "RGB"
