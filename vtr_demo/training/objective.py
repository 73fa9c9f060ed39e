"""The training objective: a batch through the heads, and the named, weighted loss terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

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


@dataclass(frozen=True)
class Heads:
    """The model as a step calls it: under autocast where ``precision`` is a half type, with the outputs of levels
    that do not learn kept in ``frozen`` from step to step."""

    model: VTRModel
    precision: torch.dtype | None = None
    frozen: FrozenLevels | None = None

    def videos(self, groups: Sequence[VideoTokens]) -> tuple[Encoded, ...]:
        """Encode groups of clips; those of one shape go through the heads in one call, which a GPU does in the
        time of one (Python starts its thousands of small kernels)."""
        by_shape: dict[object, list[int]] = {}
        for i, tokens in enumerate(groups):
            by_shape.setdefault((tokens.patches.shape[1:], tokens.grid, tokens.motion is None), []).append(i)
        outputs: dict[int, Encoded] = {}
        for members in by_shape.values():
            tokens = pad_video_tokens([groups[i] for i in members])
            with autocast(tokens.patches.device, self.precision):
                out = self.model.forward_video(tokens, self.frozen.video(tokens) if self.frozen else None)
            end = 0
            for i in members:
                start, end = end, end + len(groups[i])
                outputs[i] = map_tensors(out, itemgetter(slice(start, end)))
        return tuple(outputs[i] for i in range(len(groups)))

    def texts(self, tokens: TextTokens) -> Encoded:
        """Encode a batch of sentences."""
        with autocast(tokens.words.device, self.precision):
            return self.model.forward_text(tokens, self.frozen.text(tokens) if self.frozen else None)

    def features(self, tokens: TextTokens) -> TextFeatures:
        """Encode sentences that are compared with the batch's clips to the text side of the score."""
        with autocast(tokens.words.device, self.precision):
            return in_float(self.model.encode_text(tokens))


def encode(heads: Heads, batch: Batch) -> BatchOutput:
    """Run the heads over a batch, and gather the features of all processes, with gradients to this one's."""
    with autocast(batch.meaning.device, heads.precision):  # in one context, which casts each weight once
        videos, texts = heads.videos(batch.videos), heads.texts(batch.texts)
        text_features = heads.model.text_features(texts)
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
    return BatchOutput(texts, videos, own, map_tensors(own, lambda x: distributed.all_gather(x) if x.numel() else x))


def autocast(device: torch.device, precision: torch.dtype | None) -> torch.autocast:
    """Return the context of mixed precision; does nothing for None."""
    return torch.autocast(device.type, precision or torch.bfloat16, enabled=precision is not None)


def in_float(features: TextFeatures) -> TextFeatures:
    """Return text features in float32, without their allocation, whose width differs from batch to batch."""
    whole = map_tensors(features, lambda x: x.float() if x.is_floating_point() else x)
    return replace(whole, allocation=NO_ALLOCATION)


# --------------------------------------------------------------------------- loss terms
def loss_terms(
    heads: Heads, batch: Batch, config: LossConfig, distiller: Distiller | None = None, start: TextLevels | None = None
) -> dict[str, Tensor]:
    """Return every term that has a weight, multiplied by it; their sum is the training loss.

    With several processes the mean of the terms over the ranks is that of the joint batch, and so is the
    mean of the gradients (see ``distributed``). The losses are computed in float32. ``start``: the text side as it
    was before training. MCSAN names the ranking, KL and focal terms, S2CA the concept-level alignment and the
    distillation; their sum and its weights are our decision.
    """
    model, scale, texts = heads.model, config.scale, batch.texts
    output = encode(heads, batch)
    own, gathered = output.own, output.gathered
    paired = any(distributed.all_gather_object(batch.hard_negatives is not None)) if config.pairs else False
    others: dict[str, tuple[float, Callable[[], Tensor]]] = {
        "pairs": (config.pairs * paired, partial(_pairs, heads, own, batch.hard_negatives, scale)),
        "kl": (config.kl, partial(_divergence, gathered)),
        "attributes": (config.attributes if model.attributes else 0, partial(_attributes, model, gathered, config)),
        "concepts": (config.concepts, partial(_concept_contrast, gathered, scale)),
        "diversity": (config.diversity, partial(losses.prototype_diversity, model.concepts.prototypes)),
        "balance": (config.balance, partial(_balance, output, texts)),
    }
    if batch.truth is not None:
        others["grounding"] = config.grounding, partial(_grounding, output, batch.truth)
        if batch.captions is not None:
            others["captions"] = config.grounding, partial(_caption_words, heads, batch.captions)
        others["occurrence"] = config.occurrence, partial(_occurrence, output, texts, batch.truth)
        others["focus"] = config.focus, partial(_focus, output, batch.truth)
        if start is not None:
            others["anchor"] = config.anchor, partial(_anchor, output, texts, batch.truth, start)
    if batch.short is not None:
        others["short"] = config.short, partial(_short, heads, own, batch.short, scale)
    if distiller is not None:
        others["distill"] = config.distill, partial(_distillation, output, batch, distiller)
    terms = _ranking(gathered, config, model.training_weights)
    return terms | {name: weight * term() for name, (weight, term) in others.items() if weight}


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


def _pairs(heads: Heads, own: GatheredFeatures, negatives: HardNegatives | None, scale: float) -> Tensor:
    """Minimal pairs: softplus(-scale (s_true - s_false)) in the score and in the level that is wrong.

    The mean over levels of each level's mean, so that frequent kinds of false sentences do not drown rare
    ones (our decision; the logistic form of a ranking loss over hard negatives).
    """
    if negatives is None:  # the other ranks wait for this one's counts
        distributed.all_reduce_sum(own.meaning.new_zeros(len(LEVELS)))
        return own.videos.levels.sum() * 0.0
    false, weights = heads.features(negatives.tokens), heads.model.training_weights
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


def _divergence(gathered: GatheredFeatures) -> Tensor:
    """MCSAN's KL constraint between the modalities, summed over the levels."""
    video, text = gathered.videos.levels, gathered.texts.levels
    present = torch.isfinite(gathered.texts.level_logits)
    terms = [losses.symmetric_kl(video[:, i], text[:, i], mask=present[:, i]) for i in range(len(LEVELS))]
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


def _balance(output: BatchOutput, texts: TextTokens) -> Tensor:
    """Return the mean ``losses.usage_balance`` of the groups of clips and of the content words."""
    used = [_usage(out, out.concept_mask) for out in output.videos]
    return torch.stack([*used, _usage(output.texts, _content_mask(texts))]).mean()


def _usage(out: Encoded, mask: Tensor) -> Tensor:
    """Return ``losses.usage_balance`` over the tokens in ``mask`` (B, N) of all processes."""
    sums, tokens = losses.allocation_sums(out.concepts.soft, mask), mask.sum()
    if distributed.world() > 1:
        tokens = distributed.all_reduce_sum(tokens)
        sums = distributed.all_gather(sums.unsqueeze(0)).sum(0)
    return losses.usage_balance(sums, tokens)


def _joint_mean(means: Sequence[Tensor], counts: Sequence[Tensor]) -> Tensor:
    """Return the mean over the entries of all groups, from each group's mean over so many; the mean of this over the
    ranks is that of the joint batch."""
    entries = torch.stack([*counts])
    total = entries.sum()
    return (torch.stack([*means]) * (entries / total.clamp(min=1))).sum() * distributed.rank_weight(total)


def _known_nll(soft: Sequence[Tensor], labels: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """Return ``losses.allocation_nll`` over the tokens in ``masks`` of all groups and processes."""
    return _joint_mean([*map(losses.allocation_nll, soft, labels, masks)], [mask.sum() for mask in masks])


def _patch_labels(truth: AllocationTruth) -> tuple[list[Tensor], list[Tensor]]:
    """Return the category of each video token (B, N) by group, and whether it shows a thing."""
    labels = [F.pad(group, (1, 0), value=UNKNOWN).flatten(1) for group in truth.patches]
    return labels, [(label >= 0) & (label < len(KINDS)) for label in labels]


def _files(truth: AllocationTruth) -> list[Tensor]:
    """Return by group which clips (B,) are files, whose patches' truth is not known."""
    return [(labels == UNKNOWN).flatten(1).all(1) for labels in truth.patches]


def _words_nll(out: Encoded, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the allocation of words, whose categories are ``labels`` (B, W)."""
    words = F.pad(labels, (1, 0), value=UNKNOWN)
    return _known_nll([out.concepts.soft], [words], [(words >= 0) & out.concept_mask])


def _grounding(output: BatchOutput, truth: AllocationTruth) -> Tensor:
    """Return the cross-entropy of the allocation of patches, things and scenes weighed half and half, and of
    words, over the tokens of all processes whose truth is known."""
    labels, things = _patch_labels(truth)
    masks, soft = zip(*((out.concept_mask, out.concepts.soft) for out in output.videos), strict=True)
    of_things = [thing & mask for thing, mask in zip(things, masks, strict=True)]
    of_scenes = [(label >= len(KINDS)) & mask for label, mask in zip(labels, masks, strict=True)]
    patches = _known_nll(soft, labels, of_things) + _known_nll(soft, labels, of_scenes)
    return _words_nll(output.texts, truth.words) + patches / 2


def _caption_words(heads: Heads, captions: GroundedCaptions) -> Tensor:
    """Return the cross-entropy of the allocation of words that come without a picture."""
    return _words_nll(heads.texts(captions.texts), captions.words)


def _focus(output: BatchOutput, truth: AllocationTruth) -> Tensor:
    """Return ``losses.attention_nll`` of the focus, or of the entity level where there is none, on the patches that
    show things, of clips with any."""
    things = _patch_labels(truth)[1]
    levels = [out.levels for out in output.videos]
    attention = [out.weights[:, ENTITY] if out.things is None else out.things for out in levels]
    return _joint_mean([*map(losses.attention_nll, attention, things)], [mask.any(1).sum() for mask in things])


def _anchor(output: BatchOutput, texts: TextTokens, truth: AllocationTruth, start: TextLevels) -> Tensor:
    """Return how far the entity vectors of files and of captions lie from what they were, as mean squared distances.

    A clip's is compared with the one without the focus, a caption's with that of ``start``. What is learnt
    from drawn things must not move real ones (our decision).
    """
    files, means = _files(truth), []
    for out, mask in zip(output.videos, files, strict=True):
        assert out.levels.entity is not None
        moved = out.levels.vectors[:, ENTITY] - unit(out.levels.entity).detach()
        means.append(losses.masked_mean(moved.float().square().sum(1), mask))
    with torch.no_grad():
        before = start(texts)[0].vectors[:, ENTITY]
    moved = output.texts.levels.vectors[:, ENTITY] - before
    return _joint_mean(means, [mask.sum() for mask in files]) + moved.float().square().sum(1).mean()


def _occurrence(output: BatchOutput, texts: TextTokens, truth: AllocationTruth) -> Tensor:
    """Return ``losses.occurrence`` over the files of all processes."""
    words = (output.texts.concepts.soft.detach() * _content_mask(texts).unsqueeze(1)).amax(2)
    files = _files(truth)
    means = [
        losses.occurrence(out.concepts.soft, named, out.concept_mask, mask)
        for out, named, mask in zip(output.videos, words.split([len(mask) for mask in files]), files, strict=True)
    ]
    return _joint_mean(means, [mask.sum() for mask in files])


def _short(heads: Heads, own: GatheredFeatures, short: ShortTexts, scale: float) -> Tensor:
    """InfoNCE of short queries and this process's clips, in the score and in the level that each query asks.

    All clips that have what a query names share its target (our decision).
    """
    texts = heads.features(short.tokens)
    loss = losses.info_nce(scale * (texts.flat(heads.model.training_weights) @ own.videos.flat().T), short.right)
    for level in range(len(LEVELS)):
        asked = (short.levels == level) & torch.isfinite(texts.level_logits[:, level])
        cosines = texts.levels[:, level] @ own.videos.levels[:, level].T
        loss = loss + losses.info_nce(scale * cosines, short.right, text_mask=asked)
    return loss


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
