"""`reg_mean`: the layers that come nearest to what each source's gives of the images that it learned from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.methods.fusion.reg_mean import RegMean
from worker.methods.fusion import own_images
from worker.methods.fusion.family import Merger
from worker.methods.task import Adapted, Task
from worker.networks import merge

BATCH = 32  # images at once: a convolution's inputs are written out, place by place
MOST_INPUTS = 8192  # of a layer; inner products of more would not fit into memory

Grams = dict[str, Tensor]  # [D,D] by path


def run(task: Task, params: RegMean) -> Adapted:
    """Jin et al. 2023, Dataless knowledge fusion by merging weights of language models, eq. 2 and section 4.2."""
    merger = Merger(task, params, candidates=len(params.sources))
    merged = merge.mean(list(merger.of.sources.values()))
    solutions: dict[str, merge.RegMean] = {}
    for id_, weights in merger.of.sources.items():
        merger.put(weights, merged=False)
        for path, gram_DD in _grams(merger.network, own_images.batches(task, params, merger, id_, BATCH)).items():
            weight_OD = weights[f"{path}.weight"].flatten(1)
            solution = solutions.setdefault(path, merge.RegMean(params.off_diagonal, weight_OD))
            solution.add(gram_DD.cpu(), weight_OD)
        merger.passed(f"inputs of {id_}")
    for path, solution in solutions.items():
        before = merged[f"{path}.weight"]
        merged[f"{path}.weight"] = solution.solve().reshape(before.shape).to(before.dtype)
    about = {"regressed": sorted(solutions), "training_sets": params.training_sets}
    return merger.adapted(merged, merged=True, about=about)


def _grams(network: nn.Module, batches: Iterator[Tensor]) -> Grams:
    """XᵀX of the inputs of every layer that was executed."""
    layers = {path: module for path, module in network.named_modules() if _rows(module) is not None}
    with torch.inference_mode(), _summing(layers) as grams:
        for x_BCHW in batches:
            network(x_BCHW)
    return grams


@contextmanager
def _summing(layers: dict[str, nn.Module]) -> Iterator[Grams]:
    grams: Grams = {}

    def add(path: str, rows: Callable[[Tensor], Tensor]) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x_ND = rows(inputs[0])
            gram_DD = (x_ND.T @ x_ND).double()
            grams[path] = grams[path] + gram_DD if path in grams else gram_DD

        return hook

    hooks = []
    for path, module in layers.items():
        rows = _rows(module)
        if rows is not None:
            hooks.append(module.register_forward_pre_hook(add(path, rows)))
    try:
        yield grams
    finally:
        for hook in hooks:
            hook.remove()


def _rows(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """The function that turns a layer's input into the rows that its weights multiply; None for what is no plain linear
    map.

    Subclasses may pad or scale their inputs first, so exact types alone.
    """
    if type(module) is nn.Linear and module.in_features <= MOST_INPUTS:
        return lambda x: x.flatten(0, -2)
    if type(module) is nn.Conv2d and _is_plain(module):
        shape: dict[str, Any] = {name: getattr(module, name) for name in ("dilation", "padding", "stride")}
        return lambda x: F.unfold(x, module.kernel_size, **shape).transpose(1, 2).flatten(0, 1)
    return None


def _is_plain(module: nn.Conv2d) -> bool:
    plain = module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return plain and module.weight[0].numel() <= MOST_INPUTS
