"""Input contracts: of new networks, where nobody says one, and of sources that a job brings to another size."""

from dataclasses import replace

import torch

from app.contract.inputs import LARGEST_OWN_SIDE, InputOverride, InputSpec, own_size
from app.contract.layers import NAME as LAYERS
from app.contract.layers import for_input
from app.contract.networks import NetworkSpec
from app.contract.timm_options import declared_size
from worker.data import inputs as converting
from worker.methods.task import Domain, Source
from worker.networks import build, load, misfits, positions
from worker.networks.structure import Structure
from worker.runtime.contract import Failure, Note
from worker.runtime.run import Run

SHOWN = 3


def default(network: NetworkSpec, domain: Domain, run: Run) -> InputSpec:
    """The network's usual contract, else the dataset's own size and statistics.

    A network that is described as data says a size alone, and takes the dataset's statistics.  One of a library takes
    the dataset's size if it can and its options say none, which a warning says where that is not its usual one.
    """
    usual = build.usual_input(network)
    if usual is None:
        return _own(domain)
    if network.name == LAYERS:
        return fitted(usual, usual.channels, domain)
    told = not network.of_library or declared_size(network) is not None
    return usual if told else _at_own_size(network, usual, domain, run)


def _at_own_size(network: NetworkSpec, usual: InputSpec, domain: Domain, run: Run) -> InputSpec:
    own = usual.model_copy(update={"size": own_size(*domain.images.median_shape[:2])})
    if own.size == usual.size:
        return usual
    taken = _takes(network, own)
    message = f"{network.name} usually takes {misfits.size(usual)} images; " + (
        f"it is drawn for {misfits.size(own)} ones, by the dataset's size. Give `input` for another."
        if taken
        else f"{misfits.size(own)} ones, by the dataset's size, it cannot take, so images are brought to these."
    )
    run.emit(Note("input_size", message, "warning"))
    return own if taken else usual


def _takes(network: NetworkSpec, input: InputSpec) -> bool:
    """Tell whether it can be built and run for such images; draws nothing that a run draws."""
    try:
        with torch.random.fork_rng(devices=[]):
            Structure.of(build.shell(network, input), input)
    except Failure:
        return False
    return True


def resized(source: Source, override: InputOverride | None) -> Source:
    """The source as though its checkpoint said what `override` says of its input.

    Raises:
        Failure: `does_not_fit`, weights of it are for images of its own size alone.
    """
    if override is None:
        return source
    input = override.apply(source.input)
    if input.size == source.input.size:
        return replace(source, input=input)
    moved = replace(source, network=for_input(source.network, input), input=input)
    _require_resizable(source, moved)
    return moved


def _require_resizable(source: Source, moved: Source) -> None:
    with torch.random.fork_rng(devices=[]):
        before = build.shell(source.network, source.input).state_dict()
        after = build.shell(moved.network, moved.input).state_dict()
    bound = [
        f"{name} ({list(tensor.shape)}, and {list(after[name].shape)} for the other)"
        for name, tensor in before.items()
        if tensor.is_floating_point()
        and name in after
        and name.rpartition(".")[2] not in load.WORKED_OUT
        and positions.resampled(name, tensor, after[name]).shape != after[name].shape
    ]
    if bound:
        there, here = misfits.size(source.input), misfits.size(moved.input)
        named = ", ".join(bound[:SHOWN]) + (f" and {len(bound) - SHOWN} more" if len(bound) > SHOWN else "")
        raise Failure(
            "does_not_fit",
            f"The source's weights are for {there} images alone, not for {here} ones: {named}. Leave `input.size` out.",
        )


def fitted(spec: InputSpec, channels: int, domain: Domain) -> InputSpec:
    """`spec` for images of so many channels, with the dataset's statistics."""
    mean, std = (converting.per_channel(values, channels) for values in (domain.mean, domain.std))
    return InputSpec(**(spec.model_dump() | {"channels": channels, "mean": mean, "std": std}))


def _own(domain: Domain) -> InputSpec:
    """The dataset's own size and statistics; of mixed sizes the median."""
    if domain.image is not None:
        size, channels = (domain.image.height, domain.image.width), domain.image.channels
    else:
        height, width, channels = domain.images.median_shape
        size = min(height, LARGEST_OWN_SIDE), min(width, LARGEST_OWN_SIDE)
    return InputSpec(size=size, channels=channels, mean=domain.mean, std=domain.std)
