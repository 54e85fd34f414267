"""The first convolution between grey and colour: the only tensor that knows how many channels an image has."""

from collections.abc import Mapping

from torch import Tensor

GREY, COLOUR = 1, 3


def recoloured(tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors`, the convolution for images of other channels than among `weights` made to fit.

    For colour a grey one is repeated and divided by three, for grey a coloured one is summed: a grey image, in three
    equal channels or in one, gives what it gave before.
    """
    change = channels(tensors, weights)
    return {name: fitted(tensor, weights.get(name), change) for name, tensor in tensors.items()}


def channels(tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """The channels of the images that `tensors` and `weights` (a `state_dict`) are for; None where they are the same.

    The first convolution tells: one within, that is for each channel by itself, has the shape of one for grey images.
    """
    first = next((name for name, place in weights.items() if place.ndim == 4 and place.shape[1] in (GREY, COLOUR)), "")
    tensor = tensors.get(first)
    if tensor is None or tensor.ndim != 4 or {tensor.shape[1], weights[first].shape[1]} != {GREY, COLOUR}:
        return None
    return tensor.shape[1], weights[first].shape[1]


def fitted(tensor: Tensor, place: Tensor | None, change: tuple[int, int] | None) -> Tensor:
    """A convolution for images of the one number of channels as one for the other; all else stays as it is."""
    if change is None or place is None or tensor.ndim != 4 or place.ndim != 4:
        return tensor
    (out, has, *kernel), (wanted_out, wants, *wanted_kernel) = tensor.shape, place.shape
    if (out, kernel) != (wanted_out, wanted_kernel) or (has, wants) != change:
        return tensor
    return tensor.sum(1, keepdim=True) if wants == GREY else tensor.expand(-1, COLOUR, -1, -1) / COLOUR
