"""Joins the model and the losses: a batch in, named loss terms out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.config import LossConfig
from vtr_demo.data.captions import sentence_vector
from vtr_demo.data.sampler import Batch, HardNegatives, Teaching
from vtr_demo.model.model import Encoded, VTRModel
from vtr_demo.structures import (
    LEVELS,
    TermWeights,
    TextFeatures,
    TextTokens,
    VideoFeatures,
    VideoTokens,
    pad_video_tokens,
)
from vtr_demo.training import losses
from vtr_demo.training.distillation import Distiller


# --------------------------------------------------------------------------- a batch after the heads: bo
@dataclass(frozen=True)
class GatheredFeatures:
    """What ranking compares, one row a text or video: of this process's batch, or of all of them.

    features and video vectors as in ``features``; occupied (B, K) by side; meaning and labels as in
    ``Batch``.
    """

    texts: TextFeatures
    text_occupied: Tensor
    levels: Tensor
    concepts: Tensor
    occupied: Tensor
    meaning: Tensor
    labels: tuple[Tensor, ...]

    def flat_videos(self) -> Tensor:
        """(B, F): the video side of the score."""
        return torch.cat([self.levels.flatten(1), self.concepts.flatten(1)], dim=1)


@dataclass(frozen=True)
class BatchOutput:
    """Both modalities of this process's batch after the heads, and the vectors of all processes."""

    texts: Encoded
    videos: tuple[Encoded, ...]
    own: GatheredFeatures
    every: GatheredFeatures


def encode(
    model: VTRModel, batch: Batch, config: LossConfig, precision: torch.dtype | None = None
) -> BatchOutput:
    """Run the heads over a batch, by autocast where ``precision`` is a half; vectors come in float32."""
    with autocast(batch.meaning.device, precision):
        videos = _encoded(model, batch.videos)
        texts = model.forward_text(batch.texts)
        features = model.text_features(texts)
    seen = _seen(videos)
    own = GatheredFeatures(
        in_float(features),
        texts.concepts.occupied,
        seen.levels,
        seen.concepts,
        torch.cat([out.concepts.occupied for out in videos]),
        batch.meaning,
        batch.labels,
    )
    return BatchOutput(texts, videos, own, _everyone(own))


def _encoded(model: VTRModel, videos: Sequence[VideoTokens]) -> tuple[Encoded, ...]:
    """Each group of clips after the heads. Groups of one length go through them together: a GPU does that in
    the time of one, since it is Python that starts its thousands of small steps."""
    alike: dict[object, list[int]] = {}
    for i, tokens in enumerate(videos):
        alike.setdefault((tokens.patches.shape[1:], tokens.grid, tokens.motion is None), []).append(i)
    found: dict[int, Encoded] = {}
    for group in alike.values():
        out = model.forward_video(pad_video_tokens([videos[i] for i in group]))
        start = 0
        for i in group:
            found[i] = _rows(out, slice(start, start + len(videos[i])))
            start += len(videos[i])
    return tuple(found[i] for i in range(len(videos)))


def _seen(videos: Sequence[Encoded]) -> VideoFeatures:
    """Groups of clips as scores compare them, in float32 and without allocations."""
    return VideoFeatures(
        torch.cat([out.levels.vectors for out in videos]).float(),
        torch.cat([out.concepts.vectors for out in videos]).float(),
        torch.empty(0, 0, 0, dtype=torch.long),
    )


def _rows(value: Any, rows: slice) -> Any:
    """These clips of what the heads made of a batch: every tensor in it has a row a clip."""
    if isinstance(value, Tensor):
        return value[rows]
    if isinstance(value, tuple):
        return tuple(_rows(part, rows) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: _rows(getattr(value, part.name), rows) for part in fields(value)})
    return value


def autocast(device: torch.device, precision: torch.dtype | None) -> torch.autocast:
    return torch.autocast(device.type, precision or torch.bfloat16, enabled=precision is not None)


def in_float(features: TextFeatures) -> TextFeatures:
    return replace(
        features,
        levels=features.levels.float(),
        level_logits=features.level_logits.float(),
        concepts=features.concepts.float(),
        concept_weights=features.concept_weights.float(),
    )


def _everyone(own: GatheredFeatures) -> GatheredFeatures:
    """The vectors of all processes, rank by rank, with gradients to this one's."""
    if distributed.world() == 1:
        return own
    gather = distributed.all_gather
    text = own.texts
    return GatheredFeatures(
        TextFeatures(
            gather(text.levels),
            gather(text.level_logits),
            gather(text.concepts),
            gather(text.concept_weights),
            text.allocation,
        ),
        gather(own.text_occupied),
        gather(own.levels),
        gather(own.concepts),
        gather(own.occupied),
        gather(own.meaning),
        tuple(gather(labels) for labels in own.labels),
    )


__all__ = ["Batch", "HardNegatives", "Teaching", "check_finite", "encode", "loss_terms"]

SAME_MEANING = 0.9
"""Cosine of two captions above which neither is the other's negative in a hard contrast."""


def loss_terms(
    model: VTRModel,
    batch: Batch,
    config: LossConfig,
    distiller: Distiller | None = None,
    precision: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Every term that has a weight, already multiplied by it; their sum is the training loss.

    With several processes the mean of the terms over the ranks is that of the joint batch, and so is
    the mean of the gradients (see ``distributed``). ``precision``: a half type for the heads'
    autocast; the losses themselves are computed in float32.
    """
    sides = encode(model, batch, config, precision)
    weights = model.training_weights
    terms = _ranking(sides.every, config, weights)
    if config.pairs and any(distributed.all_gather_object(batch.contrasts is not None)):
        terms["pairs"] = config.pairs * _pairs(model, sides, batch.contrasts, config, weights, precision)
    if config.kl:
        terms["kl"] = config.kl * _divergence(sides.every, config, _used(weights))
    if config.attributes and model.attributes is not None:
        terms["attributes"] = config.attributes * _attributes(model, sides.every, config, _used(weights))
    terms |= _concepts(model, sides, config, _content(batch.texts))
    if distiller is not None and config.distill:
        terms["distill"] = config.distill * _distillation(sides, batch, distiller)
    return terms


def _targets(meaning: Tensor, config: LossConfig) -> Tensor | None:
    if not config.soft_temperature:
        return None
    return losses.soft_targets(meaning @ meaning.T, config.soft_temperature)


def _rank(cosines: Tensor, targets: Tensor | None, config: LossConfig, mask: Tensor | None = None) -> Tensor:
    return losses.info_nce(config.scale * cosines, targets, mask, mask)


def _ranking(every: GatheredFeatures, config: LossConfig, weights: TermWeights) -> dict[str, Tensor]:
    terms = {}
    text = every.texts
    if config.total:
        score = text.flat(weights) @ every.flat_videos().T
        terms["total"] = config.total * _rank(score, _targets(every.meaning[:, 0], config), config)
    if config.levels:
        present = _present(text)
        for level in _used(weights):
            cosines = text.levels[:, level] @ every.levels[:, level].T
            targets = _targets(every.meaning[:, 1 + level], config)
            terms[LEVELS[level]] = config.levels * _rank(cosines, targets, config, present[:, level])
    return terms


def _used(weights: TermWeights) -> list[int]:
    """The levels that the score has; one that an ablation removed is not taught by any term."""
    return [level for level, weight in enumerate(weights.levels()) if weight]


def _present(text: TextFeatures) -> Tensor:
    return torch.isfinite(text.level_logits)


@dataclass(frozen=True)
class _PairScores:
    """What is compared of N texts or clips: the whole (N, F), as scores weigh it, and one level (N, D)."""

    whole: Tensor
    level: Tensor

    def score(self, other: _PairScores) -> Tensor:
        """(2, N): the score and the level's cosine of each with its partner."""
        return torch.stack([(self.whole * other.whole).sum(1), (self.level * other.level).sum(1)])


def _pairs(
    model: VTRModel,
    sides: BatchOutput,
    contrasts: HardNegatives | None,
    config: LossConfig,
    weights: TermWeights,
    precision: torch.dtype | None,
) -> Tensor:
    """A clip must prefer its true sentence, in the total and in the level that the false one gets wrong.

    Levels count alike, however many of the false sentences are theirs: of single pictures
    nothing can be said falsely of what is done, and relations would drown it."""
    own = sides.own
    if contrasts is None:
        distributed.all_reduce_sum(
            own.levels.new_zeros(len(LEVELS))
        )  # the other ranks wait for this one's counts
        return own.levels.sum() * 0.0
    with autocast(own.levels.device, precision):
        told = in_float(model.encode_text(contrasts.tokens))
    rows, levels = contrasts.rows, contrasts.levels
    true = _PairScores(own.texts.flat(weights)[rows], own.texts.levels[rows, levels])
    false = _PairScores(told.flat(weights), told.levels[torch.arange(len(rows), device=rows.device), levels])
    clip = _PairScores(own.flat_videos()[rows], own.levels[rows, levels])
    gap = true.score(clip) - false.score(clip)
    each = torch.arange(len(LEVELS), device=levels.device)
    counts = distributed.all_reduce_sum((levels.unsqueeze(1) == each).sum(0).to(gap))
    taught = torch.isfinite(weights.log_levels(gap))[levels]
    lost = F.softplus(-config.scale * gap)
    return (
        ((lost[0] + taught * lost[1]) / counts[levels]).sum() * distributed.world() / counts.count_nonzero()
    )


def _divergence(every: GatheredFeatures, config: LossConfig, used: list[int]) -> Tensor:
    present = _present(every.texts)
    video, text = every.levels, every.texts.levels
    apart = [losses.symmetric_kl(video[:, i], text[:, i], config.kl_temperature, present[:, i]) for i in used]
    return torch.stack(apart).sum() if apart else (video.sum() + text.sum()) * 0.0


def _attributes(model: VTRModel, every: GatheredFeatures, config: LossConfig, used: list[int]) -> Tensor:
    assert model.attributes is not None
    loss = every.levels.new_zeros(())
    for vectors in (every.levels, every.texts.levels):
        logits = model.attributes(vectors)
        for i in used:
            if logits[i].shape[1]:
                labels = every.labels[i]
                loss = loss + losses.focal_bce(logits[i], labels, config.focal_gamma, config.focal_alpha)
    return loss


def _content(texts: TextTokens) -> Tensor:
    """(B, 1+W): the words of things and actions. Balancing all words would give whole concepts to "the"
    and "of"."""
    return F.pad(texts.content_mask(), (1, 0))


def _concepts(model: VTRModel, sides: BatchOutput, config: LossConfig, content: Tensor) -> dict[str, Tensor]:
    terms = {}
    every = sides.every
    if config.concepts:
        meaning = every.meaning[:, 0]
        same = (meaning @ meaning.T > SAME_MEANING) | torch.eye(
            len(meaning), dtype=torch.bool, device=meaning.device
        )
        contrast = losses.concept_contrast(
            every.texts.concepts,
            every.concepts,
            every.text_occupied,
            every.occupied,
            scale=config.scale,
            targets=same,
        )
        terms["concepts"] = config.concepts * contrast
    if config.diversity:
        terms["diversity"] = config.diversity * losses.prototype_diversity(model.concepts.prototypes)
    if config.balance:
        used = [_balance(out, out.concept_mask) for out in sides.videos] + [_balance(sides.texts, content)]
        terms["balance"] = config.balance * torch.stack(used).mean()
    return terms


def _balance(out: Encoded, mask: Tensor) -> Tensor:
    """The balance of use over the tokens in ``mask`` (B, N), of all processes."""
    if distributed.world() == 1:
        return losses.usage_balance(out.concepts.soft, mask)
    sums = (out.concepts.soft.float() * mask.unsqueeze(1)).sum((0, 2))
    mean = distributed.all_gather(sums.unsqueeze(0)).sum(0) / distributed.all_reduce_sum(
        mask.sum()
    ).clamp_min(1)
    return losses.usage_balance(mean.view(1, -1, 1), torch.ones(1, 1, dtype=torch.bool, device=mean.device))


# --------------------------------------------------------------------------- distillation
def _distillation(sides: BatchOutput, batch: Batch, distiller: Distiller) -> Tensor:
    """Against the teacher's tokens, which the batch carries; without a teacher its own frozen ones."""
    taught = batch.teaching or Teaching(batch.videos, batch.texts)
    own = sides.own
    loss = own.levels.new_zeros(())
    row = 0
    for out, tokens in zip(sides.videos, taught.videos, strict=True):
        mask = out.concept_mask
        patches = F.pad(tokens.patches, (0, 0, 1, 0)).flatten(1, 2)  # a blank in the summary's place
        counted = distributed.rank_weight(mask.sum())
        loss = loss + distiller.token_loss(out.concepts, mask, patches, "video") * counted / len(sides.videos)
        vectors = own.levels[row : row + len(tokens), 0]
        whole = (tokens.whole * tokens.frame_mask.unsqueeze(-1)).sum(1)
        loss = loss + distiller.global_loss(vectors, whole, "video") * len(tokens) / len(own.levels)
        row += len(tokens)
    words = F.pad(taught.texts.words, (0, 0, 1, 0))
    mask = sides.texts.concept_mask & F.pad(taught.texts.word_mask, (1, 0))
    counted = distributed.rank_weight(mask.sum())
    loss = loss + distiller.token_loss(sides.texts.concepts, mask, words, "text") * counted
    sentences = sentence_vector(batch.teaching.texts) if batch.teaching else batch.meaning[:, 0]
    return loss + distiller.global_loss(own.texts.levels[:, 0], sentences, "text")


def check_finite(terms: dict[str, Tensor]) -> str:
    """The name of the first term that is not finite on any rank, or an empty string."""
    broken = torch.stack([(~torch.isfinite(value.detach())).float() for value in terms.values()])
    return next(
        (name for name, bad in zip(terms, distributed.all_reduce_sum(broken).tolist(), strict=True) if bad),
        "",
    )
