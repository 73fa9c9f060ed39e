"""Training losses as pure functions of features and similarity matrices.

Axes as in ``structures.py``; X texts, Y videos of a batch, N tokens, A attributes, D width. Similarity
matrices are (X, Y) logits: cosines already multiplied by the logit scale, text i belonging to video i.
Masks are boolean, True for what counts. Every loss is a scalar, computed in float32 at least;
where nothing counts it is 0 and its gradients are 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo.model.s2ca import HELD_PATCHES

KL_TEMPERATURE = 0.05
"""At 1 the softmax of unit vectors is nearly uniform and the loss vanishes (0.002 for random ones)."""
UNNAMED_WEIGHT = 0.25
"""Weight in ``occurrence`` of a concept that the caption does not name."""


# --------------------------------------------------------------------------- ranking
def info_nce(
    similarity: Tensor, targets: Tensor | None = None, text_mask: Tensor | None = None, video_mask: Tensor | None = None
) -> Tensor:
    """Return symmetric InfoNCE over logits (X, Y): the mean of text -> video and video -> text.

    targets (X, Y), not negative, weigh the positives and are normalised by row and by column: a boolean table
    distributes the target evenly over several positives (Khosla et al., "Supervised Contrastive Learning",
    2020, eq. 2), ``soft_targets`` gives a distribution. Default: the diagonal. text_mask (X,) and
    video_mask (Y,) remove texts and videos as anchors and as candidates, such as captions without an action
    from the action level. An anchor without a target is skipped. Source: CLIP (Radford et al. 2021), fig. 3;
    CLIP4Clip, eq. 5-7.
    """
    logits = _precise(similarity)
    if targets is None:
        targets = torch.eye(*logits.shape, device=logits.device)
    allowed = torch.ones_like(logits, dtype=torch.bool)
    if text_mask is not None:
        allowed = allowed & text_mask.unsqueeze(1)
    if video_mask is not None:
        allowed = allowed & video_mask.unsqueeze(0)
    weights = targets.to(logits.dtype)
    return (_directed(logits, weights, allowed) + _directed(logits.T, weights.T, allowed.T)) / 2


def soft_targets(text_similarity: Tensor, temperature: float = 0.1) -> Tensor:
    """Return target weights (X, X) for ``info_nce`` from cosines between the captions (our decision).

    exp(s / temperature), so that each row and column becomes a softmax: captions of equal meaning share the
    target. Without gradient.
    """
    cosines = _precise(text_similarity.detach())
    return ((cosines - cosines.max()) / temperature).exp()


def concept_contrast(
    text: Tensor,
    video: Tensor,
    text_occupied: Tensor,
    video_occupied: Tensor,
    *,
    scale: float | Tensor = 20.0,
    targets: Tensor | None = None,
) -> Tensor:
    """Return the concept-level alignment of Conceptual Aggregated Features: InfoNCE within each concept.

    text and video (B, K, Dc) are unit vectors, occupied (B, K) bool. Concept k compares the texts and videos
    that occupy it; an anchor counts if its positive and at least one negative do. Mean over anchors and
    concepts, both directions. targets (B, B) as in ``info_nce``. Source: S2CA names the term; the equation is
    our decision.
    """
    logits = _inner(text.transpose(0, 1), video.transpose(0, 1)) * scale  # (K, B, B)
    allowed = text_occupied.T.unsqueeze(2) & video_occupied.T.unsqueeze(1)  # (K, B, B)
    own = torch.eye(len(text), device=logits.device) if targets is None else targets
    weights = own.to(logits.dtype).expand_as(logits)
    forth = _directed(logits, weights, allowed, need_negative=True)
    back = _directed(logits.mT, weights.mT, allowed.mT, need_negative=True)
    return (forth + back) / 2


def _directed(logits: Tensor, targets: Tensor, allowed: Tensor, *, need_negative: bool = False) -> Tensor:
    """Cross-entropy over the last axis among ``allowed``, mean over the rows that have a target.

    ``need_negative`` skips rows whose allowed candidates are all targets.
    """
    targets = targets * allowed
    counts = targets.sum(-1) > 0
    if need_negative:
        counts = counts & (allowed & (targets == 0)).any(-1)
    masked = torch.where(counts.unsqueeze(-1), logits.masked_fill(~allowed, -math.inf), 0.0)
    log_share = masked.log_softmax(-1).masked_fill(~allowed, 0.0)
    share = targets / targets.sum(-1, keepdim=True).clamp(min=torch.finfo(targets.dtype).tiny)
    return masked_mean(-(share * log_share).sum(-1), counts)


# --------------------------------------------------------------------------- statistical constraints
def symmetric_kl(
    video: Tensor, text: Tensor, temperature: float = KL_TEMPERATURE, mask: Tensor | None = None
) -> Tensor:
    """Return 1/2 [KL(p || q) + KL(q || p)], p = softmax(video / temperature) (B, D), q likewise of text.

    mask (B,) bool marks the pairs that have the level. On features use the default temperature, on attribute
    logits 1. Source: MCSAN's KLDivLoss between the modalities' level distributions.
    """
    p = (_precise(video) / temperature).log_softmax(-1)
    q = (_precise(text) / temperature).log_softmax(-1)
    # The two directions add up to sum (p - q)(log p - log q).
    divergence = ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2
    return masked_mean(divergence, mask)


def focal_bce(logits: Tensor, labels: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Return the focal binary cross-entropy of attribute logits (B, A) against labels (B, A) in [0, 1].

    -1/B sum [alpha (1-p)^gamma y log p + (1-alpha) p^gamma (1-y) log(1-p)], summed over the attributes; gamma 0
    and alpha 0.5 give half the plain BCE. Source: MCSAN (FBCE), after Lin et al., "Focal Loss", 2017, eq. 5.
    """
    logits = _precise(logits)
    labels = labels.to(logits.dtype)
    log_p, log_not = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = alpha * labels * (gamma * log_not).exp() * log_p
    negative = (1 - alpha) * (1 - labels) * (gamma * log_p).exp() * log_not
    return -(positive + negative).sum(-1).mean()


# --------------------------------------------------------------------------- prototypes
def prototype_diversity(prototypes: Tensor) -> Tensor:
    """Return the mean squared cosine between prototypes (K, D): 0 when orthogonal, 1 when equal.

    ||norm(P) norm(P)^T - I||^2 / K(K-1). Our decision; GLSCL has a margin on its query outputs.
    """
    unit = F.normalize(_precise(prototypes), dim=-1)
    count = len(unit)
    off_diagonal = _inner(unit, unit) * (1 - torch.eye(count, device=unit.device, dtype=unit.dtype))
    return off_diagonal.square().sum() / max(count * (count - 1), 1)


def allocation_sums(allocation: Tensor, mask: Tensor) -> Tensor:
    """Return (K + 1,): sums over the tokens in ``mask`` (B, N) of each concept's probability and of the token's
    entropy, from an ``allocation`` (B, K, N) of probabilities over K."""
    share = _precise(allocation) * mask.unsqueeze(1)
    entropy = -torch.xlogy(share, share.clamp(min=1e-12)).sum()
    return torch.cat([share.sum((0, 2)), entropy.unsqueeze(0)])


def usage_balance(sums: Tensor, tokens: Tensor) -> Tensor:
    """Return log K + mean H(token) - H(mean allocation) = log K - I(token; concept), in [0, log K].

    ``sums`` (K + 1,) are the ``allocation_sums`` of a number of ``tokens``; 0 where there are none, and where every
    token is certain and all concepts are used equally; log K where all tokens have one distribution, uniform or
    collapsed. Our decision, after the mutual information of RIM (Krause et al., "Discriminative Clustering by
    Regularized Information Maximization", 2010): even use alone is met by uniform allocation.
    """
    mean = sums / tokens.clamp(min=1)
    usage = -torch.xlogy(mean[:-1], mean[:-1].clamp(min=1e-12)).sum()
    return (math.log(len(mean) - 1) + mean[-1] - usage) * (tokens > 0)


def allocation_nll(allocation: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return the mean -log probability of the true concept over the tokens in ``mask``, 0 where it is empty.

    allocation (B, K, N) are probabilities over K, labels (B, N) concepts, mask (B, N) bool. Our decision.
    """
    true = _precise(allocation).gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1)
    return masked_mean(-torch.where(mask, true, 1.0).clamp(min=1e-9).log(), mask)


def attention_nll(attention: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over rows of -log attention, averaged over the tokens in ``mask``; 0 where it is empty.

    attention (B, N) sums to 1 over a row's tokens, mask (B, N) bool; rows without a True do not count. Least
    where the attention is spread evenly over the tokens in ``mask``. Our decision.
    """
    share = _precise(mask) / mask.sum(1, keepdim=True).clamp(min=1)
    return masked_mean(-(share * _precise(attention).clamp(min=1e-9).log()).sum(1), mask.any(1))


def occurrence(allocation: Tensor, named: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
    """Return the binary cross-entropy of which concepts occur in a clip against those that its caption names.

    A concept occurs as far as the mean of its ``HELD_PATCHES`` highest probabilities says. allocation
    (B, K, N) are probabilities over K, mask (B, N) bool; named (B, K) in [0, 1]; rows (B,) bool are the clips
    that count. What a caption leaves out weighs ``UNNAMED_WEIGHT``: it may be there. Multiple-instance learning; our
    decision.
    """
    share = _precise(allocation).masked_fill(~mask.unsqueeze(1), 0.0)
    occurs = share.topk(min(HELD_PATCHES, share.shape[2]), dim=2).values.mean(2).clamp(1e-6, 1 - 1e-6)
    named = _precise(named)
    loss = -(named * occurs.log() + UNNAMED_WEIGHT * (1 - named) * (1 - occurs).log())
    return masked_mean(loss.mean(1), rows)


# --------------------------------------------------------------------------- distillation
def reconstruction(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean over tokens of ||norm(y) - norm(f)||^2, in [0, 4].

    student y and teacher f (..., D), such as (B, N, D) tokens or (B, D) global vectors; mask (...) bool marks
    real tokens. No gradient reaches the teacher. Source: S2CA names Align-Transform-Reconstruct; MGD's
    squared error on CLIP-KD's normalised features, summed over D, is our decision.
    """
    y = F.normalize(_precise(student), dim=-1)
    f = F.normalize(_precise(teacher.detach()), dim=-1)
    return masked_mean((y - f).square().sum(-1), mask)


# --------------------------------------------------------------------------- helpers
def _precise(value: Tensor) -> Tensor:
    """Half precision in float32; float32 and float64 as they are."""
    return value if value.dtype == torch.float64 else value.float()


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Inner products (..., M, N) of rows (..., M, D) and (..., N, D), exact also under autocast."""
    with torch.autocast(left.device.type, enabled=False):
        return _precise(left) @ _precise(right).mT


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over True entries; 0 where there are none. A masked entry may be anything finite."""
    if mask is None:
        return values.mean()
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
