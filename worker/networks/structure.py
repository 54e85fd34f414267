"""The structure of a network: its head, what that sees, and the stages in which the rest can be frozen, found by
running it once."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from worker.networks import misfits, modes
from worker.runtime.contract import Failure

FEWEST_STAGES = 4
PARALLEL_HEADS = 4  # looked for, at most

Head = nn.Linear | nn.Conv2d


class Executed(NamedTuple):
    path: str
    holds_tensors: bool


@dataclass(frozen=True)
class Structure:
    """`heads` are the paths of the layers that give the class scores: one, but for networks that average several.

    `stages` hold paths of modules that are frozen or trained together, in order of execution, heads not among them.
    What a module between root and stage holds itself (a class token, an embedding of places) belongs to none.
    `features` is D, the length of what the heads see of an image.  `separable`: the network is exactly its head on
    these features, so a head can be trained on features that were computed before.  `order`: the modules that hold a
    tensor of their own, as they were first executed, and those under which there is none (dropout), as they were last.
    """

    heads: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    features: int
    separable: bool
    order: tuple[Executed, ...] = ()

    @classmethod
    def of(cls, network: nn.Module, input: InputSpec) -> "Structure":
        """The structure of `network`, which is run once, in evaluation mode, on the device that it is on; the meta
        device will do.  A network that has a `structure` itself is believed.

        Raises:
            Failure: `does_not_fit`, it takes no such images, or no layer of it gives one number a class.
        """
        known = getattr(network, "structure", None)
        if isinstance(known, Structure):
            return known
        trace = _watch(network, input)
        heads = _heads(trace)
        paths = tuple(head.path for head in heads)
        order = [path for path in trace.order if path not in paths]
        return cls(
            heads=paths,
            stages=_stages(network, order, paths),
            features=sum(_pooled(head.module, head.input).shape[1] for head in heads),
            separable=len(heads) == 1 and heads[0].input.ndim == 2 and _same(heads[0], trace.output),
            order=tuple(Executed(path, holds) for path, holds in trace.executed.items()),
        )

    @property
    def head(self) -> str:
        """The only head, or the last of several."""
        return self.heads[-1]

    @property
    def ends(self) -> list[str]:
        """Paths of the modules at which the stages end, in order of execution."""
        return [stage[-1] for stage in self.stages]

    def last(self, stages: int) -> list[str]:
        """Paths of the last `stages` stages, and of the heads."""
        return [path for stage in self.stages[-stages:] for path in stage] + list(self.heads)

    def live(self, learning: Collection[str]) -> list[str]:
        """Paths of the modules without weights (dropout) that training must not leave in evaluation mode, where only
        the modules at the paths `learning` learn.

        These are all that are executed after the frozen weights that the first learning module follows: what a head
        sees drops out as it does in a full training, and what frozen weights make of an image stays the same in every
        epoch.
        """
        learns = tuple(f"{path}." for path in learning)
        begin = 0
        for place, module in enumerate(self.order):
            if module.holds_tensors and f"{module.path}.".startswith(learns):
                return [one.path for one in self.order[begin:] if not one.holds_tensors]
            if module.holds_tensors:
                begin = place + 1
        return []

    def forward(self, network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B,K] of a network of this structure, and what its heads saw, [B,D]: the mean over places where that
        is more than a vector, and one head's after another's."""
        features: dict[str, Tensor] = {}

        def keep(path: str, head: nn.Module) -> torch.utils.hooks.RemovableHandle:
            return head.register_forward_pre_hook(
                lambda module, inputs: features.update({path: _pooled(module, inputs[0])})
            )

        hooks = [keep(path, network.get_submodule(path)) for path in self.heads]
        try:
            logits_BK = network(x)
        finally:
            for hook in hooks:
                hook.remove()
        return logits_BK, torch.cat([features[path] for path in self.heads], dim=1)

    def extract(self, network: nn.Module, x: Tensor) -> Tensor:
        """Features [B,D] of images; where the network is separable, its logits are its head of these."""
        return self.forward(network, x)[1]

    def replace_head(self, network: nn.Module, num_classes: int) -> None:
        """Put in a new head of another class count, initialised as its class does by default; the structure stays
        true."""
        for path in self.heads:
            old = network.get_submodule(path)
            like: dict[str, Any] = {
                "bias": old.bias is not None,
                "device": old.weight.device,
                "dtype": old.weight.dtype,
            }
            if isinstance(old, nn.Conv2d):
                shape: dict[str, Any] = {
                    key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation")
                }
                network.set_submodule(path, nn.Conv2d(old.in_channels, num_classes, **shape, **like))
            elif isinstance(old, nn.Linear):
                network.set_submodule(path, nn.Linear(old.in_features, num_classes, **like))


class _Call(NamedTuple):
    """A layer that may be a head, as it was executed; `needs` and `gives` are its ends in the autograd graph."""

    path: str
    module: nn.Module
    input: Tensor
    output: Tensor
    version: int
    needs: Any
    gives: Any


@dataclass
class _Trace:
    """`order`: paths of all modules with weights of their own, as they were first entered; `executed`: see
    `Structure.order`."""

    order: dict[str, None] = field(default_factory=dict)
    executed: dict[str, bool] = field(default_factory=dict)
    calls: list[_Call] = field(default_factory=list)
    output: Tensor = field(default_factory=lambda: torch.empty(0))


def _watch(network: nn.Module, input: InputSpec) -> _Trace:
    trace = _Trace()

    def enter(path: str) -> Callable[..., None]:
        return lambda module, inputs: trace.order.setdefault(path)

    def execute(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            if not _holds_tensors(module):
                trace.executed.pop(path, None)
            trace.executed.setdefault(path, _holds_tensors(module))

        return hook

    def leave(path: str) -> Callable[..., None]:
        return lambda module, inputs, output: trace.calls.append(
            _Call(path, module, inputs[0], output, output._version, inputs[0].grad_fn, output.grad_fn)
        )

    hooks = []
    for path, module in network.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            hooks.append(module.register_forward_pre_hook(enter(path)))
        if _holds_tensors(module) or not any(map(_holds_tensors, module.modules())):
            hooks.append(module.register_forward_pre_hook(execute(path)))
        if isinstance(module, Head):
            hooks.append(module.register_forward_hook(leave(path)))
    try:
        trace.output = _run(network, input)
    finally:
        for hook in hooks:
            hook.remove()
    return trace


def _holds_tensors(module: nn.Module) -> bool:
    """Tell whether a module has parameters or buffers of its own."""
    return any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))


def _run(network: nn.Module, input: InputSpec) -> Tensor:
    device = next(network.parameters()).device
    try:
        with modes.evaluating(network), torch.enable_grad():
            # what depends on the images has a place in the autograd graph, even where all weights are frozen
            x_BCHW = torch.zeros(2, input.channels, *input.size, device=device, requires_grad=True)
            output: Tensor = network(x_BCHW * 1)
    except misfits.MISFITS as error:
        message = f"The network does not accept {misfits.size(input)} images: {misfits.reason(error)}"
        raise Failure("does_not_fit", message) from error
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise Failure("does_not_fit", "The network's output is not one vector of class scores per image.")
    return output


def _heads(trace: _Trace) -> list[_Call]:
    """The last layer with a number a class, and those before it that work beside it, not for it."""
    classes = trace.output.shape[1]
    scoring = [call for call in trace.calls if _width(call.module) == classes]
    if not scoring:
        raise Failure("does_not_fit", f"No layer of the network has {classes} outputs: it has no classification head.")
    last = scoring[-1]
    feeding = _ancestors(last.needs)
    beside = [call for call in scoring[-PARALLEL_HEADS:-1] if call.gives not in feeding and call.path != last.path]
    ends = _ancestors(trace.output.grad_fn)
    return [call for call in beside if call.gives in ends] + [last]


def _ancestors(node: Any) -> set[Any]:
    """All that a node of the autograd graph was computed from, itself included."""
    ancestors: set[Any] = set()
    open_ = [node]
    while open_:
        node = open_.pop()
        if node is not None and node not in ancestors:
            ancestors.add(node)
            open_.extend(parent for parent, _ in node.next_functions)
    return ancestors


def _width(module: nn.Module) -> int:
    return module.out_channels if isinstance(module, nn.Conv2d) else int(module.out_features)  # type: ignore[arg-type]  # a linear layer


def _pooled(module: nn.Module, x: Tensor) -> Tensor:
    """[B,C,H,W] before a convolution, [B,…,D] before a linear layer, to [B,D]."""
    if isinstance(module, nn.Conv2d):
        return x.mean((2, 3))
    return x.flatten(1, -2).mean(1) if x.ndim > 2 else x


def _same(head: _Call, output: Tensor) -> bool:
    """Tell whether the head's scores leave the network as they were made."""
    stored = head.output.untyped_storage()._cdata == output.untyped_storage()._cdata
    return stored and head.output.shape == output.shape and head.version == output._version


def _stages(network: nn.Module, order: list[str], heads: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The root's children in order; what holds a head gives way to its own children, and, while there are too few, so
    does the largest."""
    units = _children("", order)
    while (unit := _to_open(network, units, order, heads)) is not None:
        at = units.index(unit)
        units[at : at + 1] = _children(unit, order)
    return _joined(network, units)


def _to_open(network: nn.Module, units: list[str], order: list[str], heads: tuple[str, ...]) -> str | None:
    for unit in units:
        if any(head.startswith(f"{unit}.") for head in heads):
            return unit
    if len(_joined(network, units)) >= FEWEST_STAGES:
        return None
    wide = [unit for unit in units if _children(unit, order)]
    return max(wide, key=lambda unit: sum(p.numel() for p in network.get_submodule(unit).parameters()), default=None)


def _children(path: str, order: list[str]) -> list[str]:
    """Paths of the children of `path` that hold anything of `order`, in that order."""
    prefix = f"{path}." if path else ""
    below = [other.removeprefix(prefix) for other in order if other.startswith(prefix) and other]
    return list(dict.fromkeys(prefix + other.partition(".")[0] for other in below))


def _joined(network: nn.Module, units: list[str]) -> tuple[tuple[str, ...], ...]:
    """Units as stages; what only scales and shifts (norms) belongs to the stage before it, the first to the next."""
    stages: list[tuple[str, ...]] = []
    for unit in units:
        if stages and (_scales(network, (unit,)) or _scales(network, stages[-1])):
            stages[-1] = (*stages[-1], unit)
        else:
            stages.append((unit,))
    return tuple(stages)


def _scales(network: nn.Module, units: tuple[str, ...]) -> bool:
    parameters = (parameter for unit in units for parameter in network.get_submodule(unit).parameters())
    return all(sum(side > 1 for side in parameter.shape) <= 1 for parameter in parameters)
