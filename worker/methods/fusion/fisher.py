"""`fisher`: a mean in which every weight counts as much as its source's answers hang on it."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.methods.fusion.fisher import Fisher
from worker.methods.fusion import own_images
from worker.methods.fusion.family import Merger
from worker.methods.task import Adapted, Task
from worker.networks import merge
from worker.training import fisher


def run(task: Task, params: Fisher) -> Adapted:
    """Matena & Raffel 2022, section 3."""
    merger = Merger(task, params, candidates=len(params.sources))
    informations = []
    for id_, weights in merger.of.sources.items():
        merger.put(weights, merged=False)
        images = own_images.batches(task, params, merger, id_, size=1)
        draws = task.run.generator("fisher", id_)
        multi_label = task.teachers[id_].multi_label
        informations.append(information(merger.network, images, draws, multi_label=multi_label))
        merger.passed(f"gradients of {id_}")
    sources = list(merger.of.sources.values())
    merged = merge.mean(sources) | merge.weighed(sources, informations)
    return merger.adapted(merged, merged=True, about={"training_sets": params.training_sets})


def information(
    network: nn.Module, images: Iterator[Tensor], draws: torch.Generator, *, multi_label: bool
) -> dict[str, Tensor]:
    """The diagonal of the Fisher information by parameter, on the CPU, with y drawn from p(y|x) (eq. 3)."""
    network.requires_grad_(True)
    parameters = dict(network.named_parameters())
    found = fisher.information(
        parameters, images, lambda x_1CHW: _surprise(network(x_1CHW), draws, multi_label=multi_label)
    )
    network.requires_grad_(False)
    return {name: tensor.cpu() for name, tensor in found.items()}


def _surprise(logits_1K: Tensor, draws: torch.Generator, *, multi_label: bool) -> Tensor:
    """−log p(y|x) of an answer drawn from p(y|x)."""
    if multi_label:
        y_1K = torch.bernoulli(logits_1K.detach().sigmoid(), generator=draws)
        return F.binary_cross_entropy_with_logits(logits_1K, y_1K, reduction="sum")
    y_1 = torch.multinomial(logits_1K.detach().softmax(1), 1, generator=draws)[:, 0]
    return F.cross_entropy(logits_1K, y_1)
