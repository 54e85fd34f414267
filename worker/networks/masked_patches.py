"""Masked patches of images: which are seen, what a vision transformer makes of these, and what the others show."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from worker.networks.classifier import watching
from worker.networks.plain_transformer import PlainTransformer

HEADS = 4
DEVIATION = 0.02  # of the token that stands for what is not seen
LEAST = 1e-6  # variance


def sampled(images: int, patches: int, seen: int, generator: Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places of the patches that are seen, int64 [B,V], and of those that are masked, [B,M], for each image its own."""
    order_BN = torch.rand(images, patches, generator=generator, device=generator.device).argsort(1).to(device)
    return order_BN[:, :seen], order_BN[:, seen:]


def encoded(network: nn.Module, transformer: PlainTransformer, x_BCHW: Tensor, seen_BV: Tensor) -> Tensor:
    """Tokens [B,P+V,D] behind the last block, of images of which only some patches are seen: first those of none."""

    def only_seen(module: nn.Module, inputs: tuple[Tensor, ...], token_BTD: Tensor) -> Tensor:
        first, rest = token_BTD[:, : transformer.prefix], token_BTD[:, transformer.prefix :]
        return torch.cat((first, _at(rest, seen_BV)), dim=1)

    hook = network.get_submodule(transformer.placed).register_forward_hook(only_seen)
    try:
        with watching(network, [transformer.last]) as watched:
            network(x_BCHW)
    finally:
        hook.remove()
    return watched[transformer.last]


def cut(x_BCHW: Tensor, patch: tuple[int, int], *, normalised: bool) -> Tensor:
    """The pixels of each patch, [B,N,h·w·C], row by row; `normalised`: each patch less its mean, over its deviation."""
    count, channels, height, width = x_BCHW.shape
    h, w = patch
    grid = x_BCHW.reshape(count, channels, height // h, h, width // w, w)
    patch_BNP = grid.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, h * w * channels)
    if not normalised:
        return patch_BNP
    mean, variance = patch_BNP.mean(2, keepdim=True), patch_BNP.var(2, keepdim=True)
    return (patch_BNP - mean) / (variance + LEAST).sqrt()


def error(painted_BNP: Tensor, target_BNP: Tensor, masked_BM: Tensor) -> Tensor:
    """The mean squared error over the pixels of all masked patches."""
    return F.mse_loss(_at(painted_BNP, masked_BM), _at(target_BNP, masked_BM))


class Painter(nn.Module):
    """A small transformer that gives the pixels [B,N,P] of all patches from the tokens of those that are seen."""

    place_1ND: Tensor

    def __init__(
        self, transformer: PlainTransformer, size: tuple[int, int], pixels: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        self._prefix = transformer.prefix
        self.embed, self.paint = nn.Linear(transformer.width, width), nn.Linear(width, pixels)
        self.unseen_1ND = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.unseen_1ND, std=DEVIATION)
        self.register_buffer("place_1ND", positions(transformer.grid(size), width)[None], persistent=False)
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, HEADS, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True)
                for _ in range(blocks)
            ),
            nn.LayerNorm(width),
        )

    def forward(self, token_BTD: Tensor, seen_BV: Tensor) -> Tensor:
        token_BTE = self.embed(token_BTD)
        first, seen = token_BTE[:, : self._prefix], token_BTE[:, self._prefix :]
        all_BNE = self.unseen_1ND.expand(len(seen), self.place_1ND.shape[1], -1)
        all_BNE = all_BNE.scatter(1, seen_BV[..., None].expand_as(seen), seen) + self.place_1ND
        painted_BNP: Tensor = self.paint(self.blocks(torch.cat((first, all_BNE), dim=1))[:, self._prefix :])
        return painted_BNP


def positions(grid: tuple[int, int], width: int) -> Tensor:
    """[N,D]: sines and cosines of rows, then of columns, a quarter of D each (He et al. 2022, appendix A.1)."""
    rate_Q = 1 / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row_N, column_N = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    angles = [place.flatten()[:, None] * rate_Q for place in (row_N, column_N)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


def _at(token_BTD: Tensor, place_BV: Tensor) -> Tensor:
    return token_BTD.gather(1, place_BV[..., None].expand(-1, -1, token_BTD.shape[2]))
