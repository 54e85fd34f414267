"""The first convolution between grey and colour: the only tensor that knows how many channels an image has."""

from collections.abc import Mapping

from torch import Tensor

GREY, COLOUR = 1, 3


def recoloured(tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors`, a convolution for images of other channels than among `weights` made to fit.

    For colour a grey one is repeated and divided by three, for grey a coloured one is summed: a grey image, in three
    equal channels or in one, gives what it gave before.
    """
    return {name: _recoloured(tensor, weights.get(name)) for name, tensor in tensors.items()}


def _recoloured(tensor: Tensor, place: Tensor | None) -> Tensor:
    if place is None or tensor.ndim != 4 or tensor.shape == place.shape:
        return tensor
    (out, has, *kernel), (wanted_out, wants, *wanted_kernel) = tensor.shape, place.shape
    if (out, kernel) != (wanted_out, wanted_kernel) or {has, wants} != {GREY, COLOUR}:
        return tensor
    return tensor.sum(1, keepdim=True) if wants == GREY else tensor.expand(-1, COLOUR, -1, -1) / COLOUR
