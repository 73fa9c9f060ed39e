"""Pooling the tokens of each semantic level into one unit vector; N tokens, L levels, H hidden width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.blocks import identity_linear, masked_softmax, zero_linear
from vtr_demo.records import LEVELS

RELATIONSHIP = LEVELS.index("relationship")
SHORTEST = 1e-4
"""A sum of tokens shorter than this is rounding (changes that cancel out) and is not made a unit vector."""


class LevelPool(nn.Module):
    """Linear attention pooling of one level; starts as the mean over the tokens that ``prior`` admits.

    ``contextual`` weighs tokens by their context and adds the values of contextual tokens to those of the
    base tokens.
    """

    def __init__(self, width: int, hidden: int, *, contextual: bool = True) -> None:
        super().__init__()
        self.score = zero_linear(hidden, 1) if contextual else None
        self.value_base = identity_linear(width)
        self.value_hidden = zero_linear(hidden, width) if contextual else None

    def weights(self, hidden: Tensor, prior: Tensor, mask: Tensor) -> Tensor:
        """a (B, N): softmax of learned scores plus the log ``prior``, over ``mask``."""
        scores = self.score(hidden).squeeze(-1) if self.score is not None else 0.0
        return masked_softmax(scores + prior, mask)

    def vector(self, base: Tensor, weights: Tensor, hidden: Tensor) -> Tensor:
        """The unit level vector (B, D) of pooled ``base`` (B, D) and of ``hidden`` (B, N, H); V is linear."""
        value = self.value_base(base)
        if self.value_hidden is not None:
            value = value + self.value_hidden(torch.einsum("bn,bnh->bh", weights, hidden))
        return F.normalize(value, dim=-1, eps=SHORTEST)

    def parts(self, weights: Tensor, base: Tensor, hidden: Tensor) -> Tensor:
        """The summands (B, N, D) of the unit level vector, from tokens that are not pooled yet."""
        value = self.value_base(base)
        if self.value_hidden is not None:
            value = value + self.value_hidden(hidden)
        summands = weights.unsqueeze(-1) * value
        return summands / summands.sum(1).norm(dim=-1).clamp_min(SHORTEST)[:, None, None]


class LevelPools(nn.ModuleList):
    """One pool a level. With ``binding`` the relationship level does without contextual tokens: they know
    what the things are and would learn pairs of things by heart."""

    def __init__(self, width: int, hidden: int, *, binding: bool) -> None:
        super().__init__(
            LevelPool(width, hidden, contextual=not binding or level != RELATIONSHIP)
            for level in range(len(LEVELS))
        )

    def each(self) -> list[LevelPool]:
        """The pools in the order of ``LEVELS``."""
        return [pool for pool in self if isinstance(pool, LevelPool)]

    def weights(self, hidden: Sequence[Tensor], priors: Sequence[Tensor], mask: Tensor) -> Tensor:
        """a (B, L, N) from contextual tokens (B, N, H) and log priors (N,) of each level."""
        columns = zip(self.each(), hidden, priors, strict=True)
        return torch.stack([pool.weights(h, prior, mask) for pool, h, prior in columns], dim=1)

    def vectors(self, pooled: Tensor, weights: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """Unit (B, L, D) from pooled base tokens (B, L, D), weights (B, L, N) and hidden (B, N, H) each."""
        columns = zip(self.each(), pooled.unbind(1), weights.unbind(1), hidden, strict=True)
        return torch.stack([pool.vector(x, a, h) for pool, x, a, h in columns], dim=1)

    def parts(self, weights: Tensor, bases: Sequence[Tensor], hidden: Sequence[Tensor]) -> Tensor:
        """(B, L, N, D): the summands of ``vectors``, from each level's base tokens (B, N, D)."""
        columns = zip(self.each(), weights.unbind(1), bases, hidden, strict=True)
        return torch.stack([pool.parts(a, x, h) for pool, a, x, h in columns], dim=1)


def with_relationship(levels: Tensor, own: Tensor) -> Tensor:
    """``levels`` (B, L, ...) with ``own`` (B, ...) for the relationship level."""
    rows = list(levels.unbind(1))
    rows[RELATIONSHIP] = own
    return torch.stack(rows, dim=1)


def rebound(pooled: Tensor, weights: Tensor, tokens: Tensor) -> Tensor:
    """``pooled`` (B, L, D) with the relationship level's row pooled from ``tokens`` (B, N, D)."""
    return with_relationship(pooled, torch.einsum("bn,bnd->bd", weights[:, RELATIONSHIP], tokens))
