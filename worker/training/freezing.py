"""Frozen means: not one bit changes, neither of a weight nor of a buffer.

`requires_grad=False` alone is not enough: batch norm in training mode goes on averaging its statistics, and weight
decay shrinks a weight whose gradient is zero.  So frozen modules are kept in evaluation mode, and frozen parameters
get no gradient at all, which makes every optimiser pass them over.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from torch import nn

from worker.training import batch_norm


@dataclass(frozen=True)
class Except:
    """The whole network but for the modules at these paths."""

    paths: Collection[str]


@dataclass(frozen=True)
class Only:
    """The parameters of these names, wherever they are."""

    names: frozenset[str]


Trainable = Collection[str] | Except | Only | None  # paths of modules; None: the whole network


def everything(epoch: int) -> Trainable:
    """The whole network, in every epoch."""
    return None


def alike(name: str) -> float:
    """The whole learning rate, for every parameter."""
    return 1.0


@dataclass(frozen=True)
class Scope:
    """The part of a network that learns, and how fast: `trainable` says for each epoch what learns, `factor` gives a
    parameter's share of the learning rate, by its name.  Without `statistics` batch norm goes by those that it has,
    and keeps them."""

    trainable: Callable[[int], Trainable] = everything
    factor: Callable[[str], float] = alike
    statistics: bool = True


class Freezer:
    """Switches which modules of a network learn; parameters that never learned (fixed embeddings) never will."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._learning = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def train(self, trainable: Trainable, *, statistics: bool = True) -> None:
        """Training mode for the modules at the paths `trainable`, frozen all the rest; of single parameters, for all
        modules but those that hold buffers, as batch norm does, and no parameter that learns.  Without `statistics` all
        batch norm layers stay in evaluation mode, though their scales and shifts may learn.

        To be called again after anything that sets the mode of the whole network.

        Raises:
            ValueError: a path names no module, or a name no parameter.
        """
        self._network.train()
        for parameter in self._learning:
            parameter.requires_grad_(True)
        if isinstance(trainable, Except):
            for path in trainable.paths:
                self._network.get_submodule(path).eval().requires_grad_(False)
        elif isinstance(trainable, Only):
            _freeze_others(self._network, trainable.names)
        elif trainable is not None:
            _freeze_rest(self._network, trainable)
        if not statistics:
            for layer in batch_norm.layers(self._network).values():
                layer.eval()

    def release(self) -> None:
        """Let everything learn again that did before."""
        for parameter in self._learning:
            parameter.requires_grad_(True)


def entries(network: nn.Module, trainable: Trainable) -> set[str]:
    """The names in the network's `state_dict` that stay as they are while only `trainable` learns."""
    if trainable is None:
        return set()
    if isinstance(trainable, Except):
        return {name for name in network.state_dict() if name.startswith(tuple(f"{path}." for path in trainable.paths))}
    if isinstance(trainable, Only):
        owners = tuple(f"{name.rpartition('.')[0]}." for name in trainable.names)
        buffers = {name for name, _ in network.named_buffers() if f"{name.rpartition('.')[0]}." in owners}
        return network.state_dict().keys() - trainable.names - buffers
    return {name for name in network.state_dict() if not any(name.startswith(f"{path}.") for path in trainable)}


def _freeze_others(network: nn.Module, names: Collection[str]) -> None:
    unknown = set(names) - {name for name, _ in network.named_parameters()}
    if unknown:
        raise ValueError(f"there is no parameter {min(unknown)!r}")
    for path, module in network.named_modules():
        own = {f"{path}.{name}" if path else name: parameter for name, parameter in module.named_parameters("", False)}
        for name, parameter in own.items():
            if name not in names:
                parameter.requires_grad_(False)
        if own.keys().isdisjoint(names) and any(True for _ in module.buffers(recurse=False)):
            module.training = False


def _freeze_rest(network: nn.Module, trainable: Collection[str]) -> None:
    unknown = set(trainable) - {path for path, _ in network.named_modules()}
    if unknown:
        raise ValueError(f"there is no module {min(unknown)!r}")
    for path, module in network.named_modules():
        if _above(path, trainable):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    for module in _frozen(network, "", trainable):
        module.eval()
        module.requires_grad_(False)


def _frozen(module: nn.Module, path: str, trainable: Collection[str]) -> Iterator[nn.Module]:
    """The topmost modules below `module` that neither learn nor hold anything that does."""
    for name, child in module.named_children():
        child_path = f"{path}.{name}" if path else name
        if _above(child_path, trainable):
            yield from _frozen(child, child_path, trainable)
        elif child_path not in trainable:
            yield child


def _above(path: str, trainable: Collection[str]) -> bool:
    """Tell whether a module that learns lies below `path`."""
    return path not in trainable and any(not path or other.startswith(f"{path}.") for other in trainable)
