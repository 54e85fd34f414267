"""Modes of a network's modules: training, or evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within, the network is in evaluation mode; after it, every module is in the mode that it had."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        network.train()  # what some networks keep for evaluation (timm's LeViT) goes with this
        for module, mode in modes.items():
            module.training = mode
