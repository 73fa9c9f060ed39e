"""The training objective: a batch through the heads, and the named, weighted loss terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.config import LossConfig
from vtr_demo.data.captions import sentence_vector
from vtr_demo.data.grounding import KINDS, UNKNOWN, AllocationTruth, GroundedCaptions
from vtr_demo.data.sampler import Batch, HardNegatives, ShortTexts, Teaching
from vtr_demo.model.mcsan import ENTITY, TextLevels, unit
from vtr_demo.model.model import Encoded, VTRModel
from vtr_demo.structures import (
    LEVELS,
    TermWeights,
    TextFeatures,
    TextTokens,
    VideoFeatures,
    VideoTokens,
    map_tensors,
    pad_video_tokens,
)
from vtr_demo.training import losses
from vtr_demo.training.distillation import Distiller
from vtr_demo.training.frozen import FrozenLevels

SAME_MEANING = 0.9
"""Cosine of two captions above which neither is a negative of the other in the concept contrast."""
NO_ALLOCATION = torch.empty(0, 0, 0, dtype=torch.long)
"""Stands for the allocation of tokens, which ranking does not look at."""


# --------------------------------------------------------------------------- a batch after the heads
@dataclass(frozen=True)
class GatheredFeatures:
    """What ranking compares, one row a pair: of this process's batch, or of all processes.

    text_occupied and video_occupied (B, K): the concepts that hold a token; meaning (B, 1+L, Dt) and labels
    as in ``Batch``. Features are float32, without allocations.
    """

    texts: TextFeatures
    videos: VideoFeatures
    text_occupied: Tensor
    video_occupied: Tensor
    meaning: Tensor
    labels: tuple[Tensor, ...]


@dataclass(frozen=True)
class BatchOutput:
    """This process's batch after the heads, its features, and the features of all processes."""

    texts: Encoded
    videos: tuple[Encoded, ...]
    own: GatheredFeatures
    gathered: GatheredFeatures


def encode(
    model: VTRModel, batch: Batch, precision: torch.dtype | None = None, frozen: FrozenLevels | None = None
) -> BatchOutput:
    """Run the heads over a batch, under autocast where ``precision`` is a half type.

    ``frozen`` keeps the levels' outputs from step to step.
    """
    with autocast(batch.meaning.device, precision):
        videos = _encode_videos(model, batch.videos, frozen)
        texts = model.forward_text(batch.texts, frozen.text(batch.texts) if frozen else None)
        text_features = model.text_features(texts)
    own = GatheredFeatures(
        in_float(text_features),
        VideoFeatures(
            torch.cat([out.levels.vectors for out in videos]).float(),
            torch.cat([out.concepts.vectors for out in videos]).float(),
            NO_ALLOCATION,
        ),
        texts.concepts.occupied,
        torch.cat([out.concepts.occupied for out in videos]),
        batch.meaning,
        batch.labels,
    )
    return BatchOutput(texts, videos, own, _gather(own))


def _encode_videos(model: VTRModel, videos: Sequence[VideoTokens], frozen: FrozenLevels | None) -> tuple[Encoded, ...]:
    """Encode each group of clips; groups of one shape go through the heads in one call, which a GPU does in
    the time of one (Python starts its thousands of small kernels)."""
    by_shape: dict[object, list[int]] = {}
    for i, tokens in enumerate(videos):
        by_shape.setdefault((tokens.patches.shape[1:], tokens.grid, tokens.motion is None), []).append(i)
    outputs: dict[int, Encoded] = {}
    for group in by_shape.values():
        tokens = pad_video_tokens([videos[i] for i in group])
        out = model.forward_video(tokens, frozen.video(tokens) if frozen else None)
        start = 0
        for i in group:
            outputs[i] = map_tensors(out, partial(_rows, start=start, count=len(videos[i])))
            start += len(videos[i])
    return tuple(outputs[i] for i in range(len(videos)))


def _rows(value: Tensor, start: int, count: int) -> Tensor:
    return value[start : start + count]


def autocast(device: torch.device, precision: torch.dtype | None) -> torch.autocast:
    """Return the context of mixed precision; does nothing for None."""
    return torch.autocast(device.type, precision or torch.bfloat16, enabled=precision is not None)


def in_float(features: TextFeatures) -> TextFeatures:
    """Return text features in float32, without their allocation, whose width differs from batch to batch."""
    whole = map_tensors(features, lambda x: x.float() if x.is_floating_point() else x)
    return replace(whole, allocation=NO_ALLOCATION)


def _gather(own: GatheredFeatures) -> GatheredFeatures:
    """The features of all processes, rank by rank, with gradients to this one's."""
    return map_tensors(own, lambda x: distributed.all_gather(x) if x.numel() else x)


# --------------------------------------------------------------------------- loss terms
def loss_terms(
    model: VTRModel,
    batch: Batch,
    config: LossConfig,
    distiller: Distiller | None = None,
    precision: torch.dtype | None = None,
    frozen: FrozenLevels | None = None,
    start: TextLevels | None = None,
) -> dict[str, Tensor]:
    """Return every term that has a weight, multiplied by it; their sum is the training loss.

    With several processes the mean of the terms over the ranks is that of the joint batch, and so is the
    mean of the gradients (see ``distributed``). ``precision``: half type of the heads' autocast; the
    losses are computed in float32. ``start``: the text side as it was before training. MCSAN names the ranking,
    KL and focal terms, S2CA the concept-level alignment and the distillation; their sum and its weights are our
    decision.
    """
    output = encode(model, batch, precision, frozen)
    gathered, weights = output.gathered, model.training_weights
    terms = _ranking(gathered, config, weights)
    if config.pairs and any(distributed.all_gather_object(batch.hard_negatives is not None)):
        pairs = _pairs(model, output.own, batch.hard_negatives, config.scale, weights, precision)
        terms["pairs"] = config.pairs * pairs
    if config.kl:
        terms["kl"] = config.kl * _divergence(gathered, config.kl_temperature)
    if config.attributes and model.attributes is not None:
        terms["attributes"] = config.attributes * _attributes(model, gathered, config)
    if config.concepts:
        terms["concepts"] = config.concepts * _concept_contrast(gathered, config.scale)
    if config.diversity:
        terms["diversity"] = config.diversity * losses.prototype_diversity(model.concepts.prototypes)
    if config.balance:
        used = [_balance(out, out.concept_mask) for out in output.videos]
        used.append(_balance(output.texts, _content_mask(batch.texts)))
        terms["balance"] = config.balance * torch.stack(used).mean()
    if batch.truth is not None:
        terms |= _of_truth(model, batch, output, batch.truth, config, precision, frozen)
        if config.anchor and start is not None:
            terms["anchor"] = config.anchor * _anchor(output, batch.texts, batch.truth, start)
    if config.short and batch.short is not None:
        terms["short"] = config.short * _short(model, output.own, batch.short, config.scale, weights, precision)
    if distiller is not None and config.distill:
        terms["distill"] = config.distill * _distillation(output, batch, distiller)
    return terms


def _of_truth(
    model: VTRModel,
    batch: Batch,
    output: BatchOutput,
    truth: AllocationTruth,
    config: LossConfig,
    precision: torch.dtype | None,
    frozen: FrozenLevels | None,
) -> dict[str, Tensor]:
    """Return the weighted terms that need the playground's truth."""
    terms = {}
    if config.grounding:
        terms["grounding"] = config.grounding * _grounding(output, truth)
        if batch.captions is not None:
            terms["captions"] = config.grounding * _caption_words(model, batch.captions, precision, frozen)
    if config.occurrence:
        terms["occurrence"] = config.occurrence * _occurrence(output, batch)
    if config.focus:
        terms["focus"] = config.focus * _focus(output, truth)
    return terms


def _ranking(gathered: GatheredFeatures, config: LossConfig, weights: TermWeights) -> dict[str, Tensor]:
    """InfoNCE of the whole score, and of each level alone over the pairs whose sentence has it."""
    terms = {}
    text, video, meaning = gathered.texts, gathered.videos, gathered.meaning
    if config.total:
        score = text.flat(weights) @ video.flat().T
        targets = _targets(meaning[:, 0], config.soft_temperature)
        terms["total"] = config.total * losses.info_nce(config.scale * score, targets)
    if config.levels:
        present = torch.isfinite(text.level_logits)
        for i, level in enumerate(LEVELS):
            cosines = text.levels[:, i] @ video.levels[:, i].T
            targets = _targets(meaning[:, 1 + i], config.soft_temperature)
            mask = present[:, i]
            terms[level] = config.levels * losses.info_nce(config.scale * cosines, targets, mask, mask)
    return terms


def _targets(meaning: Tensor, temperature: float) -> Tensor | None:
    return losses.soft_targets(meaning @ meaning.T, temperature) if temperature else None


def _pairs(
    model: VTRModel,
    own: GatheredFeatures,
    negatives: HardNegatives | None,
    scale: float,
    weights: TermWeights,
    precision: torch.dtype | None,
) -> Tensor:
    """Minimal pairs: softplus(-scale (s_true - s_false)) in the score and in the level that is wrong.

    The mean over levels of each level's mean, so that frequent kinds of false sentences do not drown rare
    ones (our decision; the logistic form of a ranking loss over hard negatives).
    """
    if negatives is None:  # the other ranks wait for this one's counts
        distributed.all_reduce_sum(own.meaning.new_zeros(len(LEVELS)))
        return own.videos.levels.sum() * 0.0
    with autocast(own.meaning.device, precision):
        false = in_float(model.encode_text(negatives.tokens))
    rows, levels = negatives.rows, negatives.levels
    each = torch.arange(len(rows), device=rows.device)
    clip, clip_level = own.videos.flat()[rows], own.videos.levels[rows, levels]
    score = (own.texts.flat(weights)[rows] - false.flat(weights)) * clip
    cosine = (own.texts.levels[rows, levels] - false.levels[each, levels]) * clip_level
    gap = torch.stack([score.sum(1), cosine.sum(1)])  # (2, N)
    counts = (levels.unsqueeze(1) == torch.arange(len(LEVELS), device=levels.device)).sum(0)
    counts = distributed.all_reduce_sum(counts.to(gap))
    loss = (F.softplus(-scale * gap).sum(0) / counts[levels]).sum()
    return loss * distributed.world() / counts.count_nonzero()


def _divergence(gathered: GatheredFeatures, temperature: float) -> Tensor:
    """MCSAN's KL constraint between the modalities, summed over the levels."""
    video, text = gathered.videos.levels, gathered.texts.levels
    present = torch.isfinite(gathered.texts.level_logits)
    levels = range(len(LEVELS))
    terms = [losses.symmetric_kl(video[:, i], text[:, i], temperature, present[:, i]) for i in levels]
    return torch.stack(terms).sum()


def _attributes(model: VTRModel, gathered: GatheredFeatures, config: LossConfig) -> Tensor:
    """MCSAN's focal loss of the levels' attributes, summed over levels and modalities."""
    assert model.attributes is not None
    loss = gathered.meaning.new_zeros(())
    for vectors in (gathered.videos.levels, gathered.texts.levels):
        for logits, labels in zip(model.attributes(vectors), gathered.labels, strict=True):
            if logits.shape[1]:
                loss = loss + losses.focal_bce(logits, labels, config.focal_gamma, config.focal_alpha)
    return loss


def _concept_contrast(gathered: GatheredFeatures, scale: float) -> Tensor:
    """S2CA's concept-level alignment; captions of one meaning are positives of each other."""
    meaning = gathered.meaning[:, 0]
    own = torch.eye(len(meaning), dtype=torch.bool, device=meaning.device)
    return losses.concept_contrast(
        gathered.texts.concepts,
        gathered.videos.concepts,
        gathered.text_occupied,
        gathered.video_occupied,
        scale=scale,
        targets=(meaning @ meaning.T > SAME_MEANING) | own,
    )


def _content_mask(texts: TextTokens) -> Tensor:
    """(B, 1+W): words of things and actions. Balancing all words would give concepts to "the" and "of"."""
    return F.pad(texts.content_mask(), (1, 0))


def _balance(out: Encoded, mask: Tensor) -> Tensor:
    """Return ``losses.usage_balance`` over the tokens in ``mask`` (B, N) of all processes."""
    sums, tokens = losses.allocation_sums(out.concepts.soft, mask), mask.sum()
    if distributed.world() > 1:
        tokens = distributed.all_reduce_sum(tokens)
        sums = distributed.all_gather(sums.unsqueeze(0)).sum(0)
    return losses.usage_balance(sums, tokens)


def _grounding(output: BatchOutput, truth: AllocationTruth) -> Tensor:
    """Return the cross-entropy of the allocation of patches, things and scenes weighed half and half, and of
    words, over the tokens of all processes whose truth is known."""
    patches = [F.pad(group, (1, 0), value=UNKNOWN).flatten(1) for group in truth.patches]
    masks = [out.concept_mask for out in output.videos]
    scenes = [(labels >= len(KINDS)) & mask for labels, mask in zip(patches, masks, strict=True)]
    things = [(labels >= 0) & (labels < len(KINDS)) & m for labels, m in zip(patches, masks, strict=True)]
    videos = [out.concepts.soft for out in output.videos]
    words = F.pad(truth.words, (1, 0), value=UNKNOWN)
    spoken = (words >= 0) & output.texts.concept_mask
    loss = _known_nll([output.texts.concepts.soft], [words], [spoken])
    return loss + (_known_nll(videos, patches, things) + _known_nll(videos, patches, scenes)) / 2


def _focus(output: BatchOutput, truth: AllocationTruth) -> Tensor:
    """Return ``losses.attention_nll`` of the focus on the patches that show things, of clips with any."""
    labels = [F.pad(group, (1, 0), value=UNKNOWN).flatten(1) for group in truth.patches]
    things = [(label >= 0) & (label < len(KINDS)) for label in labels]
    total = torch.stack([mask.any(1).sum() for mask in things]).sum()
    terms = [
        losses.attention_nll(_attention(out), mask) * (mask.any(1).sum() / total.clamp(min=1))
        for out, mask in zip(output.videos, things, strict=True)
    ]
    return torch.stack(terms).sum() * distributed.rank_weight(total)


def _attention(out: Encoded) -> Tensor:
    """Return (B, N) of the focus, or of the entity level where there is none."""
    return out.levels.weights[:, ENTITY] if out.levels.things is None else out.levels.things


def _anchor(output: BatchOutput, texts: TextTokens, truth: AllocationTruth, start: TextLevels) -> Tensor:
    """Return how far the entity vectors of files and of captions lie from what they were, as mean squared distances.

    A clip's is compared with the one without the focus, a caption's with that of ``start``. What is learnt
    from drawn things must not move real ones (our decision).
    """
    terms, counts = [], []
    for out, labels in zip(output.videos, truth.patches, strict=True):
        files = (labels == UNKNOWN).flatten(1).all(1)
        assert out.levels.entity is not None
        moved = out.levels.vectors[:, ENTITY] - unit(out.levels.entity).detach()
        terms.append((moved.float().square().sum(1) * files).sum())
        counts.append(files.sum())
    total = torch.stack(counts).sum()
    clips = torch.stack(terms).sum() / total.clamp(min=1) * distributed.rank_weight(total)
    with torch.no_grad():
        before = start(texts)[0].vectors[:, ENTITY]
    return clips + (output.texts.levels.vectors[:, ENTITY] - before).float().square().sum(1).mean()


def _short(
    model: VTRModel,
    own: GatheredFeatures,
    short: ShortTexts,
    scale: float,
    weights: TermWeights,
    precision: torch.dtype | None,
) -> Tensor:
    """InfoNCE of short queries and this process's clips, in the score and in the level that each query asks.

    All clips that have what a query names share its target (our decision).
    """
    with autocast(own.meaning.device, precision):
        texts = in_float(model.encode_text(short.tokens))
    loss = losses.info_nce(scale * (texts.flat(weights) @ own.videos.flat().T), short.right)
    for level in range(len(LEVELS)):
        asked = (short.levels == level) & torch.isfinite(texts.level_logits[:, level])
        cosines = texts.levels[:, level] @ own.videos.levels[:, level].T
        loss = loss + losses.info_nce(scale * cosines, short.right, text_mask=asked)
    return loss


def _caption_words(
    model: VTRModel, captions: GroundedCaptions, precision: torch.dtype | None, frozen: FrozenLevels | None
) -> Tensor:
    """Return the cross-entropy of the allocation of words that come without a picture."""
    with autocast(captions.words.device, precision):
        out = model.forward_text(captions.texts, frozen.text(captions.texts) if frozen else None)
    words = F.pad(captions.words, (1, 0), value=UNKNOWN)
    return _known_nll([out.concepts.soft], [words], [(words >= 0) & out.concept_mask])


def _occurrence(output: BatchOutput, batch: Batch) -> Tensor:
    """Return ``losses.occurrence`` over the files of all processes, whose patches' truth is not known."""
    assert batch.truth is not None
    words = (output.texts.concepts.soft.detach() * _content_mask(batch.texts).unsqueeze(1)).amax(2)
    terms, counts = [], []
    start = 0
    for out, labels in zip(output.videos, batch.truth.patches, strict=True):
        rows = slice(start, start + len(labels))
        real = (labels == UNKNOWN).flatten(1).all(1)
        terms.append(losses.occurrence(out.concepts.soft, words[rows], out.concept_mask, real) * real.sum())
        counts.append(real.sum())
        start = rows.stop
    total = torch.stack(counts).sum()
    return torch.stack(terms).sum() / total.clamp(min=1) * distributed.rank_weight(total)


def _known_nll(soft: Sequence[Tensor], labels: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Return ``losses.allocation_nll`` over groups; its mean over ranks is that of the joint batch."""
    total = torch.stack([mask.sum() for mask in masks]).sum()
    terms = [
        losses.allocation_nll(one, label, mask) * (mask.sum() / total.clamp(min=1))
        for one, label, mask in zip(soft, labels, masks, strict=True)
    ]
    return torch.stack(terms).sum() * distributed.rank_weight(total)


def _distillation(output: BatchOutput, batch: Batch, distiller: Distiller) -> Tensor:
    """S2CA's Align-Transform-Reconstruct against the teacher's tokens, or the batch's own frozen ones."""
    teaching = batch.teaching or Teaching(batch.videos, batch.texts)
    own = output.own
    loss = own.meaning.new_zeros(())
    row = 0
    for out, tokens in zip(output.videos, teaching.videos, strict=True):
        mask = out.concept_mask
        patches = F.pad(tokens.patches, (0, 0, 1, 0)).flatten(1, 2)  # a blank in the summary's place
        weight = distributed.rank_weight(mask.sum()) / len(output.videos)
        loss = loss + distiller.token_loss(out.concepts, mask, patches, "video") * weight
        vectors = own.videos.levels[row : row + len(tokens), 0]
        whole = (tokens.whole * tokens.frame_mask.unsqueeze(-1)).sum(1)
        loss = loss + distiller.global_loss(vectors, whole, "video") * len(tokens) / len(own.meaning)
        row += len(tokens)
    words = F.pad(teaching.texts.words, (0, 0, 1, 0))
    mask = output.texts.concept_mask & F.pad(teaching.texts.word_mask, (1, 0))
    weight = distributed.rank_weight(mask.sum())
    loss = loss + distiller.token_loss(output.texts.concepts, mask, words, "text") * weight
    sentences = sentence_vector(batch.teaching.texts) if batch.teaching else batch.meaning[:, 0]
    return loss + distiller.global_loss(own.texts.levels[:, 0], sentences, "text")


def check_finite(terms: dict[str, Tensor]) -> str:
    """Return the name of the first term that is not finite on any rank, or an empty string."""
    broken = torch.stack([(~torch.isfinite(value.detach())).float() for value in terms.values()])
    flags = distributed.all_reduce_sum(broken).tolist()
    return next((name for name, bad in zip(terms, flags, strict=True) if bad), "")
