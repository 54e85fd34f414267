"""Networks by name: of torchvision, of timm, for small images, as data, grafted, extended, and of plug-ins."""

import torch
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks import (
    cifar_resnet,
    cnn3,
    extended,
    from_timm,
    from_torchvision,
    grafted,
    layers,
    mnist_cnn,
    plugins,
    wide_resnet,
)
from worker.networks.family import Family
from worker.networks.misfits import MISFITS, reason, size
from worker.runtime.contract import Failure


def build(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    """The network that `spec` names, for images as `input` says; new weights come from PyTorch's global generator.

    Raises:
        Failure: `unknown_network`; or `does_not_fit`, it cannot be built so.
    """
    family = _family(spec.name)
    try:
        return family.build(spec, input)
    except MISFITS as error:
        raise Failure(
            "does_not_fit", f"{spec.name} cannot be built for {size(input)} images: {reason(error)}"
        ) from error


def shell(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    """The network without weights, to be filled by `load_state_dict(assign=True)`.

    It is on the meta device where nothing is lost by that; else it is built as ever.

    Raises:
        Failure: see `build`.
    """
    family = _family(spec.name)
    try:
        with torch.device("meta"):
            network = family.build(spec, input)
    except MISFITS:
        return build(spec, input)
    return network if _fillable(network) else build(spec, input)


def outline(spec: NetworkSpec, input: InputSpec) -> nn.Module:
    """The network on the meta device: names and shapes of its tensors, and nothing to compute with.  Where it looks at
    numbers while it is built (RegNet) it is built as ever.

    Raises:
        Failure: see `build`.
    """
    try:
        with torch.device("meta"):
            return _family(spec.name).build(spec, input)
    except MISFITS:
        return build(spec, input)


def usual_input(spec: NetworkSpec) -> InputSpec | None:
    """The input that such a network commonly takes; None where it has no habit.

    Raises:
        Failure: `unknown_network`; or `does_not_fit`, its options make no sense.
    """
    family = _family(spec.name)
    try:
        return family.usual_input(spec)
    except ValueError as error:
        raise Failure("does_not_fit", f"{spec.name} cannot be built: {reason(error)}") from error


def _family(name: str) -> Family:
    for family in FAMILIES:
        if family.knows(name):
            return family
    raise Failure("unknown_network", f"There is no network {name}; GET /v1/networks lists them.")


def _fillable(network: nn.Module) -> bool:
    """Tell whether all that a network holds is in its `state_dict`, each once: no tied weights, no other constants."""
    held = dict(network.named_parameters(remove_duplicate=False)) | dict(network.named_buffers(remove_duplicate=False))
    tied = len({id(tensor) for tensor in held.values()}) < len(held)
    loose = any(isinstance(value, torch.Tensor) for module in network.modules() for value in vars(module).values())
    return not tied and not loose and held.keys() == network.state_dict().keys()


# Networks with a network of any family within are built by families that build that as everybody does.
FAMILIES: tuple[Family, ...] = (
    from_torchvision,
    from_timm,
    cnn3,
    cifar_resnet,
    wide_resnet,
    mnist_cnn,
    layers,
    grafted.GraftedFamily(build, usual_input),
    extended.ExtendedFamily(build, usual_input),
    plugins,
)
