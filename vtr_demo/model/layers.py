"""Transformer layers shared by both papers' heads.

Nothing here is sized by the number of frames, patches or words, and the last projection of every block
is zero-initialised, so that an untrained head is the identity on its tokens.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def zero_linear(inputs: int, outputs: int, *, bias: bool = False) -> nn.Linear:
    """Return a zero-initialised linear layer."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.zeros_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def identity_linear(width: int) -> nn.Linear:
    """Return a square linear layer without bias, initialised to the identity."""
    layer = nn.Linear(width, width, bias=False)
    nn.init.eye_(layer.weight)
    return layer


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the True entries of ``mask`` along the last axis; rows without any are all zero."""
    empty = ~mask.any(-1, keepdim=True)
    weights = logits.masked_fill(~mask, -torch.inf).masked_fill(empty, 0.0).softmax(-1)
    return weights.masked_fill(empty, 0.0)


def fourier(values: Tensor) -> Tensor:
    """Sines and cosines, at four scales, of positions in [0, 1]: (..., n) -> (..., 8 n)."""
    scales = math.pi * 2.0 ** torch.arange(4, device=values.device, dtype=values.dtype)
    angles = (values.unsqueeze(-1) * scales).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


@lru_cache
def patch_centres(grid: tuple[int, int], device: torch.device) -> Tensor:
    """(P, 2): the (y, x) of patch centres as shares of the picture, row-major. Do not write to it.

    Cached for each device: creating constants in a step would synchronise with the GPU.
    """
    y, x = ((torch.arange(count, device=device) + 0.5) / count for count in grid)
    return torch.cartesian_prod(y, x).reshape(-1, 2)


@lru_cache
def grid_positions(grid: tuple[int, int], device: torch.device) -> Tensor:
    """(P, 16) Fourier features of patch centres, row-major; cached likewise."""
    return fourier(patch_centres(grid, device))


def difference(x: Tensor, mask: Tensor, before: Tensor | None = None) -> Tensor:
    """x_t - x_(t-1) (B, T, ...); zero in the first frame and in padding, where mask (B, T) is False.

    ``before`` (B, T-1, ...) replaces x_(t-1), for tokens that have moved.
    """
    change = x[:, 1:] - (x[:, :-1] if before is None else before)
    real = (mask[:, 1:] & mask[:, :-1]).view(*change.shape[:2], *(1,) * (x.ndim - 2))
    return torch.cat([torch.zeros_like(x[:, :1]), change * real], dim=1)


def clock(mask: Tensor) -> Tensor:
    """(B, T, 8) Fourier features of the frame's place in its clip, 0 to 1."""
    last = (mask.sum(1, keepdim=True) - 1).clamp_min(1)
    return fourier((torch.arange(mask.shape[1], device=mask.device) / last).unsqueeze(-1))


class Attention(nn.Module):
    """Multi-head self-attention over the second-to-last axis of (N, S, H); optional (N, S) key mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = zero_linear(width, width, bias=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, S, H) -> (N, S, H); every row needs at least one key."""
        n, s, h = x.shape
        q, k, v = self.qkv(x).view(n, s, 3, self.heads, h // self.heads).permute(2, 0, 3, 1, 4)
        bias = None if mask is None else mask[:, None, None, :].expand(n, 1, s, s)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).reshape(n, s, h))


class SharedDropout(nn.Module):
    """Dropout of whole channels, the same for every token of a row: pooling cannot undo it."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., H) -> (N, ..., H)."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        shape = (len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        return x * (torch.empty(shape, device=x.device, dtype=x.dtype).bernoulli_(keep) / keep)


class Block(nn.Module):
    """Pre-norm attention and feed-forward with residuals; initially the identity."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), zero_linear(2 * width, width, bias=True))
        self.dropout = SharedDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, S, H) -> (N, S, H)."""
        x = x + self.dropout(self.attention(self.norm_attention(x), mask))
        return x + self.dropout(self.feed(self.norm_feed(x)))
