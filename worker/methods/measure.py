"""Evaluations of an adapted network: test splits, read once, when everything else is settled."""

from collections.abc import Callable, Mapping
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.contract import extended
from app.contract.evaluation import Before, Calibration, Evaluation, Measured, Uncalibrated
from app.contract.inputs import InputSpec
from app.contract.transfer import TensorReport
from worker.data.batches import Images, Prepare
from worker.methods import transferred
from worker.methods.task import Adapted, Domain, Task
from worker.metrics.scores import Verdict
from worker.networks.classifier import Classifier
from worker.networks.grafted import Grafted
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.runtime.run import Hits, Run
from worker.training import evaluate

Examine = Callable[[nn.Module], Verdict]


def evaluation(task: Task, adapted: Adapted) -> Evaluation | None:
    """The evaluation of a job: on the target's test split, and on the source's where that is known.

    None where the target has no labelled test image, or the network says nothing of classes.
    """
    if adapted.headless:
        return None
    target = on_test_split(
        task.run, adapted.classifier.module, adapted.classifier.input, adapted.classifier.classes, task.target
    )
    if target is None:
        return None
    if adapted.temperature is not None:
        target = target.model_copy(update={"calibration": _calibration(task, adapted, adapted.temperature)})
    return Evaluation(target=target, source=_on_source(task, adapted), labels_used=str(adapted.labels))


def examiner(
    run: Run, input: InputSpec, classes: list[str] | None, domain: Domain, rows: NDArray[np.int64]
) -> Examine | None:
    """A function that judges networks of one input and the same classes on the labelled images at `rows`.

    None where no image is of these classes.
    """
    if not len(rows):
        return None
    shared, columns = _shared(classes, domain)
    images = domain.examples(rows, input, shared).to(run.device)
    return (lambda network: _judge(run, network, input, images, columns)) if len(images) else None


def right(run: Run, classifier: Classifier, domain: Domain, rows: NDArray[np.int64]) -> Hits:
    """Hits of the served decision on the labelled images at `rows`; on those of a class that the network does not know
    it is wrong.

    Raises:
        Failure: `does_not_fit`, no class is shared.
    """
    shared, columns = _shared(classifier.classes, domain)
    images = domain.examples(rows, classifier.input, shared).to(run.device)
    known_K = np.isin(domain.classes, shared)
    hits = np.ones(len(rows), bool) if domain.multi_label else known_K[domain.images.label[rows]]
    if len(images):
        hits[hits] = _judge(run, classifier.module, classifier.input, images, columns).hits
    return hits


def judged(run: Run, adapted: Adapted, domain: Domain) -> Verdict | None:
    """The verdict on the test split's images, in their order; None where no labelled one is of its classes."""
    rows = domain.labelled("test")
    if not len(rows):
        return None
    shared, columns = _shared(adapted.classifier.classes, domain)
    images = domain.examples(rows, adapted.classifier.input, shared)
    return _judge(run, adapted.classifier.module, adapted.classifier.input, images, columns) if len(images) else None


def on_test_split(
    run: Run,
    network: nn.Module,
    input: InputSpec,
    classes: list[str] | None,
    domain: Domain,
    *,
    times: float = 1.0,
) -> Measured | None:
    """Figures of the served decision on the images of the classes that network and dataset share by name; None where no
    labelled test image is of them.

    Where either has other classes, too, `classes` names the shared ones.  Where the network has, `among_shared` holds
    what the decision among the shared ones would come to; where the dataset has, `left_out` counts their images.

    `classes` are the network's outputs in order; None: they are those of the dataset, if there are as many.
    The scores count `times` what they are.

    Raises:
        Failure: `does_not_fit`, no class is shared.
    """
    rows = domain.labelled("test")
    if not len(rows):
        return None
    shared, columns = _shared(classes, domain)
    images = domain.examples(rows, input, shared)
    if not len(images):
        return None
    judged = _judge(run, network, input, images, columns, times)
    left_out = len(rows) - len(images)
    partial = {} if columns is None and not left_out else {"classes": shared}
    left = {"left_out": left_out} if left_out else {}
    return judged.measured(len(shared)).model_copy(update={**partial, **left})


def _shared(classes: list[str] | None, domain: Domain) -> tuple[list[str], list[int] | None]:
    """Names of the shared classes, and their places among the outputs (None: they are all of them, in order)."""
    if classes is None:
        return domain.classes, None
    shared = [name for name in classes if name in set(domain.classes)]
    if not shared:
        raise Failure("does_not_fit", "Network and dataset share no class name.")
    return (classes, None) if shared == classes else (shared, [classes.index(name) for name in shared])


def _judge(
    run: Run, network: nn.Module, input: InputSpec, images: Images, columns: list[int] | None, times: float = 1.0
) -> Verdict:
    prepare = Prepare(input, run.device, device.memory_format(network))
    batches = evaluate.image_batches(run, images.to(run.device), prepare)
    return evaluate.judge(run, lambda x: network(x) * times, batches, columns=columns)


def _calibration(task: Task, adapted: Adapted, temperature: float) -> Calibration:
    """Measure what calibration has changed: the temperature moves no class before another."""
    before = on_test_split(
        task.run,
        adapted.classifier.module,
        adapted.classifier.input,
        adapted.classifier.classes,
        task.target,
        times=temperature,
    )
    uncalibrated = Uncalibrated(nll=before and before.nll, ece=before and before.ece)
    return Calibration(temperature=temperature, before=uncalibrated)


def _on_source(task: Task, adapted: Adapted) -> Measured | None:
    """Forgetting: what the source could do on its own test split before, and what the adapted network can.

    Where the adapted network has a head for other classes, the source's head is set on what became of its backbone: as
    it was, or as it went on learning.  None where source and dataset share no class: there is nothing to forget.
    """
    if task.source is None or task.source_domain is None:
        return None
    source, domain = task.source, task.source_domain
    if source.untrained_head:  # it could do nothing
        return None
    if source.classes is not None and not set(source.classes) & set(domain.classes):
        return None
    unchanged = transferred.unchanged(source)
    network, structure = unchanged.module, unchanged.structure
    if not _goes_on(adapted, network, structure.heads):
        return None
    device.place(network, task.run.device)
    before = on_test_split(task.run, network, source.input, source.classes, domain)
    if before is None:
        return None
    kept = adapted.classifier.classes == source.classes and task.same_kind
    if adapted.spec.name == extended.NAME != source.network.name:
        network = adapted.classifier.module if kept else _headed(adapted.classifier.module, network, structure.heads)
    elif isinstance(network, Grafted) or isinstance(adapted.classifier.module, Grafted):
        network = adapted.classifier.module if kept else _regrafted(network, adapted.classifier.module)
    else:
        _overwrite(network, adapted.classifier.module.state_dict(), skip=() if kept else structure.heads)
        if adapted.source_head is not None:
            network.set_submodule(structure.head, adapted.source_head)
    after = on_test_split(task.run, network, source.input, source.classes, domain)
    if after is None:
        return None
    figures = Before(accuracy=before.accuracy, accuracy_interval=before.accuracy_interval, nll=before.nll)
    return after.model_copy(update={"before": figures, "head": "adapted" if kept else "source"})


def _headed(adapted: nn.Module, source: nn.Module, heads: tuple[str, ...]) -> nn.Module:
    """A copy of the adapted network, with what it has beside the source's tensors, under the source's heads."""
    network = deepcopy(adapted)
    for path in heads:
        network.set_submodule(path, source.get_submodule(path))
    return network


def _goes_on(adapted: Adapted, network: nn.Module, heads: tuple[str, ...]) -> bool:
    """Tell whether the adapted network began as the source's, tensor by tensor: else it has nothing to forget."""
    state, head = _base(adapted.classifier.module).state_dict(), _within((*heads, *adapted.classifier.structure.heads))
    beneath = {name: tensor for name, tensor in _base(network).state_dict().items() if not name.startswith(head)}
    same = all(name in state and state[name].shape == tensor.shape for name, tensor in beneath.items())
    return same and adapted.transfer.tensors != TensorReport()


def _base(network: nn.Module) -> nn.Module:
    """The network that a head was grafted on; any other is its own."""
    return network.backbone if isinstance(network, Grafted) else network


def _within(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{path}." for path in paths)


def _regrafted(source: nn.Module, adapted: nn.Module) -> nn.Module:
    """The source's head on what became of its base; under a graft that is what it was."""
    if isinstance(source, Grafted) and not isinstance(adapted, Grafted):
        base, state = source.backbone.state_dict(), adapted.state_dict()
        fitting = {name: state[name] for name in base.keys() & state.keys() if state[name].shape == base[name].shape}
        source.backbone.load_state_dict(base | fitting)
    return source


def _overwrite(network: nn.Module, tensors: Mapping[str, Tensor], skip: tuple[str, ...]) -> None:
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not name.startswith(_within(skip)):
                tensor.copy_(tensors[name])
