"""The two sides of the score, and the sliders that weigh its terms. Axes as in ``records``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vtr_demo.errors import BadConfig
from vtr_demo.records import LEVELS, TERMS


@dataclass(frozen=True)
class TermWeights:
    """The sliders: a factor for each level and for the concepts. Levels are renormalised.

    ``muted`` are concepts, by index, that add nothing; the others keep their shares.
    """

    global_: float = 1.0
    entity: float = 1.0
    action: float = 1.0
    relationship: float = 1.0
    concepts: float = 0.5
    muted: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        values = (*self.levels(), self.concepts)
        if not all(np.isfinite(v) and v >= 0 for v in values):
            raise BadConfig(f"Term weights must be finite and not negative, got {values}.")
        if sum(values) == 0:
            raise BadConfig("All level and concept weights are zero; raise at least one of them.")

    def levels(self) -> tuple[float, float, float, float]:
        """The four level weights in the order of ``LEVELS``."""
        return self.global_, self.entity, self.action, self.relationship

    def log_levels(self, like: Tensor) -> Tensor:
        """(L,): the logarithms of the level weights, with the device and type of ``like``."""
        return _logarithms(self.levels(), like.device, like.dtype)

    def by_term(self) -> dict[str, float]:
        """The factors by the names in ``TERMS``."""
        return {name: getattr(self, key) for name, key in _FIELDS.items()}

    def changed(self, values: Mapping[str, float]) -> TermWeights:
        """With other factors for the terms named, as in ``TERMS``."""
        for name, value in values.items():
            if name not in TERMS:
                raise BadConfig(f"There is no term {name!r} to weigh; there are {', '.join(TERMS)}.")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise BadConfig(f"The weight of {name} must be a number, got {value!r}.")
        return replace(self, **{_FIELDS[name]: float(value) for name, value in values.items()})  # type: ignore[arg-type]

    def ablated(self) -> dict[str, TermWeights]:
        """Each term that weighs something alone (`only entity`) and left out (`without entity`)."""
        found: dict[str, TermWeights] = {}
        for name, key in _FIELDS.items():
            if not getattr(self, key):
                continue
            alone = {other: float(other == key) for other in _FIELDS.values()}
            found[f"only {name}"] = replace(self, **alone)  # type: ignore[arg-type]
            if sum(bool(getattr(self, other)) for other in _FIELDS.values()) > 1:
                found[f"without {name}"] = replace(self, **{key: 0.0})  # type: ignore[arg-type]
        return found


@lru_cache
def _logarithms(factors: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(factors, device=device, dtype=dtype).log()


_FIELDS = dict(zip(TERMS, ("global_", *LEVELS[1:], "concepts"), strict=True))
"""The field of each term."""


@dataclass(frozen=True)
class VideoFeatures:
    """The video side of the score.

    levels (B, L, D), unit vectors; concepts (B, K, Dc), unit vectors, zero where the concept is
    empty; allocation (B, T, 1+P), the concept of each token or -1. The parts are optional:
    level_parts (B, L, T, 1+P, D) sums to ``levels`` over (T, 1+P); concept_parts
    (B, T, 1+P, Dc), summed over the tokens of concept k, is row k of ``concepts``.
    """

    levels: Tensor
    concepts: Tensor
    allocation: Tensor
    level_parts: Tensor | None = None
    concept_parts: Tensor | None = None

    def flat(self) -> Tensor:
        """(B, L*D + K*Dc): the video's side of the one inner product that is the score."""
        return torch.cat([self.levels.flatten(1), self.concepts.flatten(1)], dim=1)


@dataclass(frozen=True)
class TextFeatures:
    """The text side of the score, laid out as ``VideoFeatures``.

    level_logits (B, L), -inf where the sentence lacks the level; concept_weights (B, K), sums to
    1 over the sentence's concepts (or all zero); allocation (B, 1+W); level_parts
    (B, L, 1+W, D); concept_parts (B, 1+W, Dc).
    """

    levels: Tensor
    level_logits: Tensor
    concepts: Tensor
    concept_weights: Tensor
    allocation: Tensor
    level_parts: Tensor | None = None
    concept_parts: Tensor | None = None

    def gates(self, weights: TermWeights) -> Tensor:
        """g_l (B, L): sums to 1 over the levels present that have a weight, else all zero."""
        logits = self.level_logits + weights.log_levels(self.levels)
        dead = torch.isinf(logits).all(dim=1, keepdim=True)
        return torch.where(dead, torch.zeros_like(logits), logits.masked_fill(dead, 0.0).softmax(dim=1))

    def shares(self, weights: TermWeights) -> Tensor:
        """lambda w_k (B, K): what a concept's agreement counts for in the score."""
        shares = weights.concepts * self.concept_weights
        if not weights.muted:  # as in training, which need not wait for a mask at each step
            return shares
        return shares * shares.new_tensor([k not in weights.muted for k in range(shares.shape[1])])

    def flat(self, weights: TermWeights) -> Tensor:
        """(B, L*D + K*Dc): the text's side of the score, with the sliders applied."""
        levels = self.gates(weights).unsqueeze(-1) * self.levels
        concepts = self.shares(weights).unsqueeze(-1) * self.concepts
        return torch.cat([levels.flatten(1), concepts.flatten(1)], dim=1)


def term_sums(text: np.ndarray, video: np.ndarray, width: int) -> dict[str, float]:
    """The five terms of the inner product of two flat vectors (F,), cut where they meet; D is ``width``."""
    products = text * video
    edges = [*(i * width for i in range(len(LEVELS) + 1)), len(products)]
    return {name: float(products[a:b].sum()) for name, (a, b) in zip(TERMS, pairwise(edges), strict=True)}
