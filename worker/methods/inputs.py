"""Input contracts of new networks, where nobody says one."""

from app.contract.inputs import InputSpec
from app.contract.layers import NAME as LAYERS
from app.contract.networks import NetworkSpec
from worker.methods.task import Domain
from worker.networks import build

LARGEST_OWN_SIDE = 224  # of a network that takes any size, where the images have many


def default(network: NetworkSpec, domain: Domain) -> InputSpec:
    """The network's usual contract, else the dataset's own size and statistics.

    A network that is described as data says a size alone, and takes the dataset's statistics.
    """
    usual = build.usual_input(network)
    if usual is None:
        return _own(domain)
    return fitted(usual, usual.channels, domain) if network.name == LAYERS else usual


def fitted(spec: InputSpec, channels: int, domain: Domain) -> InputSpec:
    """`spec` for images of so many channels, with the dataset's statistics."""
    mean, std = (_per_channel(values, channels) for values in (domain.mean, domain.std))
    return InputSpec(**(spec.model_dump() | {"channels": channels, "mean": mean, "std": std}))


def _own(domain: Domain) -> InputSpec:
    """The dataset's own size and statistics; of mixed sizes the median."""
    if domain.image is not None:
        size, channels = (domain.image.height, domain.image.width), domain.image.channels
    else:
        height, width, channels = domain.images.median_shape
        size = min(height, LARGEST_OWN_SIDE), min(width, LARGEST_OWN_SIDE)
    return InputSpec(size=size, channels=channels, mean=domain.mean, std=domain.std)


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Statistics of grey images for colour, and the other way round."""
    return values if len(values) == channels else (sum(values) / len(values),) * channels
