"""S2CA's shared concept prototypes and discrete concept allocation.

Source: Li et al., "S2CA: Shared Concept Prototypes and Concept-level Alignment for text-video
retrieval", Neurocomputing 614, 2024 (abstract): shared prototypes, cross-attention and
Gumbel-softmax give a Discrete Concept Allocation Matrix that assigns the tokens of both
modalities to prototypes; the tokens of a prototype are averaged into a Conceptual Aggregated
Feature (CAF). The equations are our decision, after GLSCL (shared queries and decoder) and
GroupViT (hard assignment, mean with epsilon):

    Q = P + S - mean_k S,  S = CrossAttention(P, X)        A_ki = one-hot over k of <W Q_k, x_i> * scale
    C_k = W_o sum_i A_ki W_v x_i / (sum_i A_ki + eps)

A prototype is never added to its CAF: two empty concepts must not match.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.model.layers import identity_linear, masked_softmax, zero_linear

EPS = 1.0
"""Added to the number of a concept's tokens in their mean (as in GroupViT)."""
HELD_PATCHES = 4
"""Patches of a clip that a concept must hold to occur in it."""


@dataclass(frozen=True)
class ConceptOutput:
    """One modality's concepts over N tokens.

    vectors (B, K, Dc) unit, zero where empty; aggregated (B, K, Dc), the Conceptual Aggregated
    Features before normalisation; occupied (B, K) bool; allocation (B, K, N), the Discrete
    Concept Allocation Matrix (columns sum to 1, padding to 0); soft (B, K, N), its probabilities.
    """

    vectors: Tensor
    aggregated: Tensor
    occupied: Tensor
    allocation: Tensor
    soft: Tensor

    def index(self) -> Tensor:
        """Return (B, N): the concept of each token, -1 for padding."""
        held = self.allocation.sum(1) > 0
        return torch.where(held, self.allocation.argmax(1), -torch.ones_like(held, dtype=torch.long))


class Concepts(nn.Module):
    """K prototypes, one cross-attention and one value projection, shared by both modalities."""

    scale: float = 10.0
    """Logit of a token that equals a prototype; Gumbel noise has a standard deviation of 1.3."""
    inner: int = 128
    """Width of the cross-attention."""
    centre: Tensor

    def __init__(self, width: int, count: int, concept_width: int, *, centred_shift: bool = True) -> None:
        super().__init__()
        self.centred_shift = centred_shift
        self.prototypes = nn.Parameter(F.normalize(torch.randn(count, width), dim=-1))
        self.query = nn.Linear(width, self.inner)
        self.key = nn.Linear(width, self.inner, bias=False)
        self.read = nn.Linear(width, self.inner)
        self.write = zero_linear(self.inner, width)
        self.match = identity_linear(width)
        self.value = nn.Linear(width, concept_width, bias=False)
        self.out = identity_linear(concept_width)
        nn.init.orthogonal_(self.value.weight)
        self.weight = zero_linear(concept_width, 1)
        self.register_buffer("centre", torch.zeros(2, width))  # mean token of video, of text

    def forward(self, tokens: Tensor, mask: Tensor, modality: Literal["video", "text"]) -> ConceptOutput:
        """Allocate tokens (B, N, D) where ``mask`` (B, N) is True.

        Gumbel noise is drawn in training mode only; in evaluation mode the allocation is the arg-max.
        """
        side = ("video", "text").index(modality)
        centre = self.centre[side]
        shifted = tokens - centre
        length = shifted.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        queries = self._contextual(shifted, length, mask)
        directions = F.normalize(self.match(queries), dim=-1)
        logits = self.scale * (shifted @ directions.transpose(1, 2) / length).transpose(1, 2)  # (B, K, N)
        soft = logits.softmax(dim=1) * mask.unsqueeze(1)
        allocation = self._allocate(logits) * mask.unsqueeze(1)
        mean = allocation @ shifted / (allocation.sum(-1, keepdim=True) + EPS)
        aggregated = self.out(self.value(mean))  # W_v and W_o are linear: the mean may come first
        occupied = (allocation.detach().sum(-1) > 0) & mask.any(1, keepdim=True)
        vectors = F.normalize(aggregated, dim=-1) * occupied.unsqueeze(-1)
        return ConceptOutput(vectors, aggregated, occupied, allocation, soft)

    def parts(self, out: ConceptOutput, tokens: Tensor, modality: Literal["video", "text"]) -> Tensor:
        """(B, K, N, Dc): the summands of ``out.vectors``, one for each token."""
        values = self.out(self.value(tokens - self.centre[("video", "text").index(modality)]))
        summands = out.allocation.unsqueeze(-1) * values.unsqueeze(1)
        return summands / summands.sum(2).norm(dim=-1).clamp_min(1e-12)[:, :, None, None]

    def text_weights(self, text: ConceptOutput) -> Tensor:
        """w_k (B, K): a softmax over the sentence's own concepts, so that it can be indexed."""
        return masked_softmax(self.weight(text.vectors).squeeze(-1), text.occupied)

    def _contextual(self, tokens: Tensor, length: Tensor, mask: Tensor) -> Tensor:
        """Q (B, K, D): each prototype after cross-attention to the tokens, padding masked."""
        keys = self.key(tokens) / length
        scores = torch.einsum("kd,bnd->bkn", self.query(self.prototypes), keys) / self.inner**0.5
        weights = masked_softmax(scores, mask.unsqueeze(1).expand_as(scores))
        shift = self.write(self.read((weights / length.transpose(1, 2)) @ tokens))
        if self.centred_shift:  # a shift common to all prototypes makes the allocation uniform
            shift = shift - shift.mean(1, keepdim=True)
        return self.prototypes + shift

    def _allocate(self, logits: Tensor) -> Tensor:
        if self.training:
            return F.gumbel_softmax(logits, tau=1.0, hard=True, dim=1)
        return F.one_hot(logits.argmax(1), logits.shape[1]).transpose(1, 2).to(logits.dtype)


KMEANS_ROUNDS = 25
SAME_DIRECTION = 1e-5
"""1 - cosine below which two points are equal up to rounding."""


def kmeans(points: Tensor, count: int) -> Tensor:
    """Return spherical k-means centres (K, D) of points (N, D); k-means++ seeding.

    The seed is fixed, so that runs find comparable concepts. With fewer distinct points than ``count`` the
    remaining centres are random directions.
    """
    generator = torch.Generator().manual_seed(0)
    units = F.normalize(points.float(), dim=-1)
    units = units[units.norm(dim=-1) > 0.5]
    centres = F.normalize(torch.randn(count, points.shape[1], generator=generator), dim=-1)
    if len(units) == 0:
        return centres
    distance = torch.ones(len(units))
    for k in range(count):
        if not distance.any():
            return centres
        pick = int(torch.multinomial(distance, 1, generator=generator))
        centres[k] = units[pick]
        distance = torch.minimum(distance, 1 - units @ centres[k])
        distance[distance < SAME_DIRECTION] = 0.0
    for _ in range(KMEANS_ROUNDS):
        owner = (units @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, owner, units)
        held = sums.norm(dim=-1) > 1e-6
        centres[held] = F.normalize(sums[held], dim=-1)
    return centres
