"""Embeddings of positions between images of one size and of another, as timm and torchvision bring them over."""

import math
import warnings

import torch
import torch.nn.functional as F
from timm.layers import resize_rel_pos_bias_table
from torch import Tensor

TIMM, TORCHVISION = "pos_embed", "encoder.pos_embedding"
TABLE = "relative_position_bias_table"  # of Swin and BEiT, for each pair of places in a window
PAIRS_WITH_CLASS = 3  # rows behind BEiT's table: of the class token to a patch, back, and to itself
MOST_TOKENS = 2  # before those of the grid: of the class, and of a teacher


def resampled(name: str, tensor: Tensor, place: Tensor) -> Tensor:
    """Positions of a square grid of patches at the size of `place`, embedded [1,N,D] or relative to each other [N,H];
    whatever else it is stays as it is.

    timm's and torchvision's ViT are brought over as each library does it: bicubic, with and without antialiasing.
    Tables of relative positions are by timm's way: between places that stand closer in the middle (as BEiT's authors).
    """
    if name.rpartition(".")[2] == TABLE:
        return _table(tensor, place)
    return _embedding(name, tensor, place)


def _table(tensor_NH: Tensor, place: Tensor) -> Tensor:
    if tensor_NH.ndim != 2 or place.ndim != 2 or tensor_NH.shape[1] != place.shape[1]:
        return tensor_NH
    for others in (0, PAIRS_WITH_CLASS):
        sides = [math.isqrt(max(length - others, 0)) for length in (tensor_NH.shape[0], place.shape[0])]
        lengths = [side**2 + others for side in sides]
        if lengths == [tensor_NH.shape[0], place.shape[0]] and all(side % 2 for side in sides):
            window = (sides[1] + 1) // 2
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # on how timm indexes a tensor
                resized: Tensor = resize_rel_pos_bias_table(tensor_NH, (window, window), tuple(place.shape))
            return resized
    return tensor_NH


def _embedding(name: str, tensor_1ND: Tensor, place: Tensor) -> Tensor:
    if name not in (TIMM, TORCHVISION) or tensor_1ND.ndim != 3 or place.ndim != 3:
        return tensor_1ND
    tokens = _tokens(tensor_1ND.shape[1], place.shape[1])
    if tokens is None or tensor_1ND.shape[2] != place.shape[2] or place.shape[1] == tensor_1ND.shape[1]:
        return tensor_1ND
    before_1TD, grid_1ND = tensor_1ND[:, :tokens], tensor_1ND[:, tokens:]
    old, new = (math.isqrt(length - tokens) for length in (tensor_1ND.shape[1], place.shape[1]))
    grid_1DHW = grid_1ND.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    like_timm = name == TIMM
    grid_1DHW = F.interpolate(
        grid_1DHW, size=(new, new), mode="bicubic", antialias=like_timm, align_corners=None if like_timm else True
    )
    grid_1ND = grid_1DHW.permute(0, 2, 3, 1).reshape(1, new * new, -1).to(tensor_1ND.dtype)
    return torch.cat((before_1TD, grid_1ND), dim=1)


def _tokens(one: int, other: int) -> int | None:
    """The number of tokens before the grid, if both lengths are such tokens and a square."""
    for tokens in range(MOST_TOKENS + 1):
        if all(length > tokens and math.isqrt(length - tokens) ** 2 == length - tokens for length in (one, other)):
            return tokens
    return None
