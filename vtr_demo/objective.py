"""Joins the model and the losses: a batch in, named loss terms out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo import distributed, losses
from vtr_demo.batch import Batch, Contrasts, Teaching
from vtr_demo.config import LossConfig
from vtr_demo.distill import Distiller
from vtr_demo.features import TermWeights, TextFeatures
from vtr_demo.model import Encoded, VTRModel
from vtr_demo.records import LEVELS, TextTokens
from vtr_demo.sides import Sides, Vectors, autocast, encode, in_float
from vtr_demo.tokens import sentence_vector

__all__ = ["Batch", "Contrasts", "Teaching", "check_finite", "encode", "loss_terms"]

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
    if config.pairs and any(distributed.together(batch.contrasts is not None)):
        terms["pairs"] = config.pairs * _pairs(model, sides, batch.contrasts, config, weights, precision)
    if config.kl:
        terms["kl"] = config.kl * _divergence(model, sides.every, config, _used(weights))
    if config.attributes and model.attributes is not None:
        terms["attributes"] = config.attributes * _attributes(model, sides.every, config, _used(weights))
    terms |= _concepts(model, sides, config, _content(batch.texts))
    if distiller is not None and config.distill:
        terms["distill"] = config.distill * _distillation(sides, batch, distiller)
    if config.distill_similarity:
        terms["distill_similarity"] = config.distill_similarity * _teacher_similarity(
            sides.every, config, weights
        )
    return terms


def _targets(meaning: Tensor, config: LossConfig) -> Tensor | None:
    if not config.soft_temperature:
        return None
    return losses.soft_targets(meaning @ meaning.T, config.soft_temperature)


def _rank(cosines: Tensor, targets: Tensor | None, config: LossConfig, mask: Tensor | None = None) -> Tensor:
    if config.ranking == "hinge":
        if mask is None:
            return losses.hinge(cosines)
        kept = mask.nonzero().squeeze(1)
        return losses.hinge(cosines[kept][:, kept]) if len(kept) > 1 else cosines.sum() * 0.0
    return losses.info_nce(config.scale * cosines, targets, mask, mask)


def _ranking(every: Vectors, config: LossConfig, weights: TermWeights) -> dict[str, Tensor]:
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
class _Heard:
    """What is compared of N texts or clips: the whole (N, F), as scores weigh it, and one level (N, D)."""

    whole: Tensor
    level: Tensor

    def at(self, rows: Tensor) -> _Heard:
        return _Heard(self.whole[rows], self.level[rows])

    def score(self, other: _Heard) -> Tensor:
        """(2, N): the score and the level's cosine of each with its partner."""
        return torch.stack([(self.whole * other.whole).sum(1), (self.level * other.level).sum(1)])


def _pairs(
    model: VTRModel,
    sides: Sides,
    contrasts: Contrasts | None,
    config: LossConfig,
    weights: TermWeights,
    precision: torch.dtype | None,
) -> Tensor:
    """A clip must prefer its true sentence, in the total and in the level that the false one gets wrong.

    Where the clip is there of which the false sentence is true, that one must prefer it, and each sentence
    its own clip. Levels count alike, however many of the false sentences are theirs: of single pictures
    nothing can be said falsely of what is done, and relations would drown it."""
    own = sides.own
    if contrasts is None:
        distributed.total(own.levels.new_zeros(len(LEVELS)))  # the other ranks wait for this one's counts
        return own.levels.sum() * 0.0
    with autocast(own.levels.device, precision):
        told = in_float(model.encode_text(contrasts.tokens))
    rows, levels = contrasts.rows, contrasts.levels
    true = _Heard(own.texts.flat(weights)[rows], own.texts.levels[rows, levels])
    false = _Heard(told.flat(weights), told.levels[torch.arange(len(rows), device=rows.device), levels])
    clip = _Heard(own.flat_videos()[rows], own.levels[rows, levels])
    gaps, wrong = [true.score(clip) - false.score(clip)], [levels]
    if contrasts.shown is not None and sides.rivals is not None:
        some, seen = contrasts.shown, sides.rivals
        rival = _Heard(seen.flat(), seen.levels[torch.arange(len(some), device=some.device), levels[some]])
        true, false, clip = true.at(some), false.at(some), clip.at(some)
        meant = false.score(rival)
        gaps += [true.score(clip) - true.score(rival), meant - false.score(clip), meant - true.score(rival)]
        wrong += [levels[some]] * 3
    gap, level = torch.cat(gaps, dim=1), torch.cat(wrong)
    each = torch.arange(len(LEVELS), device=level.device)
    counts = distributed.total((level.unsqueeze(1) == each).sum(0).to(gap))
    taught = torch.isfinite(weights.log_levels(gap))[level]
    lost = F.softplus(-config.scale * gap)
    return ((lost[0] + taught * lost[1]) / counts[level]).sum() * distributed.world() / counts.count_nonzero()


def _divergence(model: VTRModel, every: Vectors, config: LossConfig, used: list[int]) -> Tensor:
    present = _present(every.texts)
    video, text = every.levels, every.texts.levels
    if config.kl_on == "attribute" and model.attributes is not None:
        seen, said = model.attributes(video, "video"), model.attributes(text, "text")
        apart = [losses.symmetric_kl(seen[i], said[i], 1.0, present[:, i]) for i in used if seen[i].shape[1]]
    else:
        form = losses.batch_kl if config.kl_on == "batch" else losses.symmetric_kl
        apart = [form(video[:, i], text[:, i], config.kl_temperature, present[:, i]) for i in used]
    return torch.stack(apart).sum() if apart else (video.sum() + text.sum()) * 0.0


def _attributes(model: VTRModel, every: Vectors, config: LossConfig, used: list[int]) -> Tensor:
    assert model.attributes is not None
    loss = every.levels.new_zeros(())
    for vectors, side in ((every.levels, "video"), (every.texts.levels, "text")):
        logits = model.attributes(vectors, side)
        for i in used:
            if logits[i].shape[1]:
                labels = every.labels[i]
                loss = loss + losses.focal_bce(logits[i], labels, config.focal_gamma, config.focal_alpha)
    return loss


def _content(texts: TextTokens) -> Tensor:
    """(B, 1+W): the words of things and actions. Balancing all words would give whole concepts to "the"
    and "of"."""
    return F.pad(texts.content_mask(), (1, 0))


def _concepts(model: VTRModel, sides: Sides, config: LossConfig, content: Tensor) -> dict[str, Tensor]:
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
        spread = torch.stack([losses.prototype_diversity(p) for p in model.concepts.prototypes])
        terms["diversity"] = config.diversity * spread.mean()
    if config.balance:
        used = [_balance(out, out.concept_mask) for out in sides.videos] + [_balance(sides.texts, content)]
        terms["balance"] = config.balance * torch.stack(used).mean()
    return terms


def _balance(out: Encoded, mask: Tensor) -> Tensor:
    """The balance of use over the tokens in ``mask`` (B, N), of all processes."""
    if distributed.world() == 1:
        return losses.usage_balance(out.concepts.soft, mask)
    sums = (out.concepts.soft.float() * mask.unsqueeze(1)).sum((0, 2))
    mean = distributed.gather(sums.unsqueeze(0)).sum(0) / distributed.total(mask.sum()).clamp_min(1)
    return losses.usage_balance(mean.view(1, -1, 1), torch.ones(1, 1, dtype=torch.bool, device=mean.device))


# --------------------------------------------------------------------------- distillation
def _distillation(sides: Sides, batch: Batch, distiller: Distiller) -> Tensor:
    """Against the teacher's tokens, which the batch carries; without a teacher its own frozen ones."""
    taught = batch.teaching or Teaching(batch.videos, batch.texts)
    own = sides.own
    loss = own.levels.new_zeros(())
    row = 0
    for out, tokens in zip(sides.videos, taught.videos, strict=True):
        mask = out.concept_mask
        patches = F.pad(tokens.patches, (0, 0, 1, 0)).flatten(1, 2)  # a blank in the summary's place
        counted = distributed.share(mask.sum())
        loss = loss + distiller.token_loss(out.concepts, mask, patches, "video") * counted / len(sides.videos)
        vectors = own.levels[row : row + len(tokens), 0]
        whole = (tokens.whole * tokens.frame_mask.unsqueeze(-1)).sum(1)
        loss = loss + distiller.global_loss(vectors, whole, "video") * len(tokens) / len(own.levels)
        row += len(tokens)
    words = F.pad(taught.texts.words, (0, 0, 1, 0))
    mask = sides.texts.concept_mask & F.pad(taught.texts.word_mask, (1, 0))
    counted = distributed.share(mask.sum())
    loss = loss + distiller.token_loss(sides.texts.concepts, mask, words, "text") * counted
    sentences = sentence_vector(batch.teaching.texts) if batch.teaching else batch.meaning[:, 0]
    return loss + distiller.global_loss(own.texts.levels[:, 0], sentences, "text")


def _teacher_similarity(every: Vectors, config: LossConfig, weights: TermWeights) -> Tensor:
    """The teacher's scores, mean-pooled frames against sentence vectors, as the table to follow."""
    sentences, clips = every.taught
    teacher = sentences @ clips.T
    student = every.texts.flat(weights) @ every.flat_videos().T
    return losses.similarity_distillation(config.scale * student, config.scale * teacher)


def check_finite(terms: dict[str, Tensor]) -> str:
    """The name of the first term that is not finite on any rank, or an empty string."""
    broken = torch.stack([(~torch.isfinite(value.detach())).float() for value in terms.values()])
    return next(
        (name for name, bad in zip(terms, distributed.total(broken).tolist(), strict=True) if bad), ""
    )
