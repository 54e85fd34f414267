"""Networks that a file fits alike: do they compute the same with its weights?"""

from collections.abc import Iterator

import torch
from torch import nn

from app.contract.identification import Identification
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.ingest.recognise import Recognised
from worker.networks import build, modes
from worker.runtime.contract import Note

# Between two networks that compute the same: of the difference that the image makes, and of the largest output.
CLOSE, ROUNDING = 1e-3, 2e-6


def compared(recognised: Recognised, network: nn.Module, input: InputSpec) -> Identification:
    """Compare the networks that fit alike with `network`, which has the file's weights: do they compute the same?"""
    others = differing(recognised, network, input)
    first, *rest = recognised.candidates
    update = {
        "ambiguous_with": [other.name for other in others],
        "same_as": [other.name for other in recognised.alike if other not in others],
    }
    measured = {} if recognised.measured is None else {"measured": recognised.measured}
    return Identification(rule=recognised.rule, candidates=[first.model_copy(update=update), *rest], **measured)


def differing(recognised: Recognised, network: nn.Module, input: InputSpec) -> list[NetworkSpec]:
    """The networks of those that fit alike that compute something else than `network`, which has the file's weights."""
    return [other for other in recognised.alike if _differs(network, other, input)]


def ambiguity(identified: Identification | None) -> Iterator[Note]:
    """A warning where networks that compute something else fit as well."""
    if identified is None or not identified.candidates[0].ambiguous_with:
        return
    name, others = identified.candidates[0].network.name, ", ".join(identified.candidates[0].ambiguous_with)
    text = (
        f"The file's weights fit {name} and {others} alike, which compute something else with them (paddings, "
        f"epsilons, activations or poolings differ): {name} is the most usual one, and was taken. `network` in the "
        "request names another."
    )
    yield Note("network_ambiguous", text, "warning")


def _differs(network: nn.Module, other: NetworkSpec, input: InputSpec) -> bool:
    """Tell whether another network computes something else with the same weights, on noise."""
    module = build.shell(other, input)
    weights, places = network.state_dict(), module.state_dict()
    if weights.keys() != places.keys():  # other names, as torchvision's and timm's, in the same order
        if len(weights) != len(places):
            return True
        pairs = zip(places.items(), weights.values(), strict=True)
        weights = {name: tensor.reshape(place.shape) for (name, place), tensor in pairs}
    module.load_state_dict(weights, assign=True)
    x_BCHW = torch.randn(2, input.channels, *input.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), modes.evaluating(network), modes.evaluating(module):
        one_BK, other_BK = network(x_BCHW), module(x_BCHW)
    between_images, largest = float((one_BK[0] - one_BK[1]).abs().max()), float(one_BK.abs().max())
    return not torch.allclose(one_BK, other_BK, rtol=0, atol=max(CLOSE * between_images, ROUNDING * largest))
