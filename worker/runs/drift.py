"""The drift of a network from its source, layer by layer: in its weights, and in what it makes of images."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from app.contract.inputs import InputSpec
from app.contract.transfer import Drift, LayerDrift
from worker.data.batches import Prepare
from worker.methods import transferred
from worker.methods.task import Adapted, Task
from worker.runtime import device
from worker.training import evaluate

IMAGES = 256  # of the target's training split, evenly spaced
NUMBERS = 4096  # of a layer's output that are compared, evenly spaced

Pairs = dict[str, str]  # paths of modules: the adapted network's, the source's


def measure(task: Task, adapted: Adapted) -> Drift | None:
    """Measure, for each layer that came from the source, ‖w − w₀‖ / ‖w₀‖ over its weights and the linear CKA of its
    outputs.

    A layer that is new has null for both.  None where nothing came from a source.
    """
    tensors = adapted.transfer.tensors
    origin = {} if tensors is None else tensors.origins()
    if task.source is None or not origin:
        return None
    source = transferred.unchanged(transferred.base(task.source)).module
    device.place(source, task.run.device)
    pairs = _pairs(adapted.classifier.module, origin)
    rows = _sample(task)
    ours = _outputs(task, adapted.classifier.module, adapted.classifier.input, rows, list(pairs))
    theirs = _outputs(task, source, task.source.input, rows, list(pairs.values()))
    layers = [
        LayerDrift(
            layer=path,
            relative_l2=_distance(adapted.classifier.module, source, path, pairs.get(path)),
            cka=_similarity(ours.get(path), theirs.get(pairs.get(path, ""))),
        )
        for path in _layers(adapted.classifier.module)
    ]
    return Drift(images=len(rows), layers=layers)


def linear_cka(x_ND: Tensor, y_NE: Tensor) -> float | None:
    """‖Yᵀ X‖² / (‖XᵀX‖ · ‖YᵀY‖) of centred features, in Frobenius norms (Kornblith et al. 2019, eq. 3 and 4).

    None where either is constant.
    """
    gram_x_NN, gram_y_NN = _gram(x_ND), _gram(y_NE)
    scale = float(gram_x_NN.norm() * gram_y_NN.norm())
    return float((gram_x_NN * gram_y_NN).sum()) / scale if scale > 0 else None


def _gram(x_ND: Tensor) -> Tensor:
    centred_ND = x_ND.double() - x_ND.double().mean(0)
    return centred_ND @ centred_ND.T


def _layers(network: nn.Module) -> list[str]:
    """Modules with weights of their own, in order."""
    return [path for path, module in network.named_modules() if path and any(True for _ in module.parameters(False))]


def _pairs(network: nn.Module, origin: Mapping[str, str]) -> Pairs:
    pairs = {}
    for path in _layers(network):
        for name, _ in network.get_submodule(path).named_parameters(recurse=False):
            if f"{path}.{name}" in origin:
                pairs[path] = origin[f"{path}.{name}"].removesuffix(f".{name}")
    return pairs


def _distance(network: nn.Module, source: nn.Module, path: str, of: str | None) -> float | None:
    if of is None:
        return None
    ours, theirs = network.get_submodule(path), dict(source.get_submodule(of).named_parameters(recurse=False))
    moved = norm = 0.0
    for name, parameter in ours.named_parameters(recurse=False):
        if name in theirs and theirs[name].shape == parameter.shape:
            before = theirs[name].detach().double()
            moved += float((parameter.detach().double() - before).square().sum())
            norm += float(before.square().sum())
    return (moved / norm) ** 0.5 if norm > 0 else None


def _similarity(ours: Tensor | None, theirs: Tensor | None) -> float | None:
    return None if ours is None or theirs is None else linear_cka(ours, theirs)


def _sample(task: Task) -> NDArray[np.int64]:
    rows = task.target.images.rows("train")
    return rows[np.linspace(0, len(rows) - 1, min(IMAGES, len(rows))).astype(np.int64)]


def _outputs(
    task: Task,
    network: nn.Module,
    input: InputSpec,
    rows: NDArray[np.int64],
    paths: Sequence[str],
) -> dict[str, Tensor]:
    """[N, at most `NUMBERS`] by path, of the modules that were executed."""
    images = task.target.unlabelled(rows, input).to(task.run.device)
    prepare = Prepare(input, task.run.device, device.memory_format(network))
    by_path: dict[str, list[Tensor]] = {}
    with torch.inference_mode(), _thinned(network, paths) as outputs:
        for x_BCHW, _ in evaluate.image_batches(task.run, images, prepare):
            network(x_BCHW)
            for path, output_BD in outputs.items():
                by_path.setdefault(path, []).append(output_BD)
    return {path: torch.cat(parts) for path, parts in by_path.items()}


@contextmanager
def _thinned(network: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within, what the modules at `paths` made last, [B, at most `NUMBERS`]: copied at once, since others may work on
    it in place."""
    outputs: dict[str, Tensor] = {}

    def keep(path: str) -> RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Any, ...], result: Any) -> None:
            output = result[0] if isinstance(result, tuple) else result
            flat_BD = output.reshape(len(inputs[0]), -1)
            outputs[path] = flat_BD[:, :: -(-flat_BD.shape[1] // NUMBERS)].float().clone()

        return network.get_submodule(path).register_forward_hook(hook)

    hooks = [keep(path) for path in paths]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
