"""Joins the model and the losses: a batch in, named loss terms out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo import losses
from vtr_demo.config import LossConfig
from vtr_demo.distill import Distiller
from vtr_demo.features import TermWeights, TextFeatures
from vtr_demo.model import Encoded, VTRModel
from vtr_demo.records import LEVELS, TextTokens, VideoTokens

SAME_MEANING = 0.9
"""Cosine of two captions above which neither is the other's negative in a hard contrast."""


@dataclass(frozen=True)
class Contrasts:
    """Minimal pairs of a batch: ``tokens`` of N false sentences, the row of the batch that each
    belongs to, and the level (index) that it gets wrong."""

    tokens: TextTokens
    rows: Tensor
    levels: Tensor


@dataclass(frozen=True)
class Batch:
    """One step's data: text i belongs to video i over the concatenation of ``videos``.

    Videos of equal length travel together (photos apart from clips), so that nothing is padded in
    vain. meaning (B, 1+L, Dt) as in ``tokens.Text``; labels[l] (B, A_l).
    """

    videos: tuple[VideoTokens, ...]
    texts: TextTokens
    meaning: Tensor
    labels: tuple[Tensor, ...] = ()
    contrasts: Contrasts | None = None


@dataclass(frozen=True)
class Sides:
    """Both modalities after the heads; vectors of all videos of the batch together."""

    texts: Encoded
    text_features: TextFeatures
    videos: tuple[Encoded, ...]
    levels: Tensor
    concepts: Tensor
    occupied: Tensor

    def flat_videos(self) -> Tensor:
        """(B, F): the video side of the score."""
        return torch.cat([self.levels.flatten(1), self.concepts.flatten(1)], dim=1)


def encode(model: VTRModel, batch: Batch) -> Sides:
    """Run the heads over a batch."""
    videos = tuple(model.forward_video(tokens) for tokens in batch.videos)
    texts = model.forward_text(batch.texts)
    return Sides(
        texts,
        model.text_features(texts),
        videos,
        torch.cat([out.levels.vectors for out in videos]),
        torch.cat([out.concepts.vectors for out in videos]),
        torch.cat([out.concepts.occupied for out in videos]),
    )


def loss_terms(
    model: VTRModel, batch: Batch, config: LossConfig, distiller: Distiller | None = None
) -> dict[str, Tensor]:
    """Every term that has a weight, already multiplied by it; their sum is the training loss."""
    sides = encode(model, batch)
    weights = model.training_weights
    terms = _ranking(sides, batch, config, weights)
    if batch.contrasts is not None and config.pairs:
        terms["pairs"] = config.pairs * _pairs(model, sides, batch.contrasts, config, weights)
    if config.kl:
        terms["kl"] = config.kl * _divergence(model, sides, batch, config)
    if config.attributes and model.attributes is not None:
        terms["attributes"] = config.attributes * _attributes(model, sides, batch, config)
    terms |= _concepts(model, sides, batch, config)
    if distiller is not None and config.distill:
        terms["distill"] = config.distill * _distillation(sides, batch, distiller)
    if config.distill_similarity:
        terms["distill_similarity"] = config.distill_similarity * _teacher_similarity(
            sides, batch, config, weights
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


def _ranking(sides: Sides, batch: Batch, config: LossConfig, weights: TermWeights) -> dict[str, Tensor]:
    terms = {}
    text = sides.text_features
    if config.total:
        score = text.flat(weights) @ sides.flat_videos().T
        terms["total"] = config.total * _rank(score, _targets(batch.meaning[:, 0], config), config)
    if config.levels:
        present = _present(text)
        for level, name in enumerate(LEVELS):
            if weights.levels()[level]:
                cosines = text.levels[:, level] @ sides.levels[:, level].T
                targets = _targets(batch.meaning[:, 1 + level], config)
                terms[name] = config.levels * _rank(cosines, targets, config, present[:, level])
    return terms


def _present(text: TextFeatures) -> Tensor:
    return torch.isfinite(text.level_logits)


def _pairs(
    model: VTRModel, sides: Sides, contrasts: Contrasts, config: LossConfig, weights: TermWeights
) -> Tensor:
    """A clip must prefer its true sentence, in the total and in the level that the false one gets wrong."""
    false = model.encode_text(contrasts.tokens)
    rows, levels = contrasts.rows, contrasts.levels
    videos = sides.flat_videos()[rows]
    true_score = (sides.text_features.flat(weights)[rows] * videos).sum(1)
    false_score = (false.flat(weights) * videos).sum(1)
    every = torch.arange(len(rows), device=rows.device)
    own = sides.levels[rows, levels]
    true_level = (sides.text_features.levels[rows, levels] * own).sum(1)
    false_level = (false.levels[every, levels] * own).sum(1)
    both = F.softplus(-config.scale * (true_score - false_score)) + F.softplus(
        -config.scale * (true_level - false_level)
    )
    return both.mean()


def _divergence(model: VTRModel, sides: Sides, batch: Batch, config: LossConfig) -> Tensor:
    present = _present(sides.text_features)
    video, text = sides.levels, sides.text_features.levels
    if config.kl_on == "attribute" and model.attributes is not None:
        pairs = list(zip(model.attributes(video, "video"), model.attributes(text, "text"), strict=True))
        return torch.stack(
            [losses.symmetric_kl(v, t, 1.0, present[:, i]) for i, (v, t) in enumerate(pairs) if v.shape[1]]
        ).sum()
    form = losses.batch_kl if config.kl_on == "batch" else losses.symmetric_kl
    return torch.stack(
        [form(video[:, i], text[:, i], config.kl_temperature, present[:, i]) for i in range(len(LEVELS))]
    ).sum()


def _attributes(model: VTRModel, sides: Sides, batch: Batch, config: LossConfig) -> Tensor:
    assert model.attributes is not None
    loss = sides.levels.new_zeros(())
    for vectors, side in ((sides.levels, "video"), (sides.text_features.levels, "text")):
        for logits, labels in zip(model.attributes(vectors, side), batch.labels, strict=True):
            if logits.shape[1]:
                loss = loss + losses.focal_bce(logits, labels, config.focal_gamma, config.focal_alpha)
    return loss


def _concepts(model: VTRModel, sides: Sides, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
    terms = {}
    text = sides.texts.concepts
    if config.concepts:
        meaning = batch.meaning[:, 0]
        same = (meaning @ meaning.T > SAME_MEANING) | torch.eye(
            len(meaning), dtype=torch.bool, device=meaning.device
        )
        contrast = losses.concept_contrast(
            text.vectors, sides.concepts, text.occupied, sides.occupied, scale=config.scale, targets=same
        )
        terms["concepts"] = config.concepts * contrast
    if config.diversity:
        spread = torch.stack([losses.prototype_diversity(p) for p in model.concepts.prototypes])
        terms["diversity"] = config.diversity * spread.mean()
    if config.balance:
        sides_used = [*sides.videos, sides.texts]
        used = [losses.usage_balance(out.concepts.soft, out.concept_mask) for out in sides_used]
        terms["balance"] = config.balance * torch.stack(used).mean()
    return terms


def _distillation(sides: Sides, batch: Batch, distiller: Distiller) -> Tensor:
    """Against the frozen towers' own tokens, which the batch carries."""
    loss = sides.levels.new_zeros(())
    row = 0
    for out, tokens in zip(sides.videos, batch.videos, strict=True):
        teacher = F.pad(tokens.patches, (0, 0, 1, 0)).flatten(1, 2)  # a blank in the summary's place
        loss = loss + distiller.token_loss(out.concepts, out.concept_mask, teacher, "video") / len(
            sides.videos
        )
        whole = (tokens.summary * tokens.frame_mask.unsqueeze(-1)).sum(1)
        vectors = sides.levels[row : row + len(tokens), 0]
        loss = loss + distiller.global_loss(vectors, whole, "video") * len(tokens) / len(sides.levels)
        row += len(tokens)
    words = F.pad(batch.texts.words, (0, 0, 1, 0))
    loss = loss + distiller.token_loss(sides.texts.concepts, sides.texts.concept_mask, words, "text")
    return loss + distiller.global_loss(sides.text_features.levels[:, 0], batch.meaning[:, 0], "text")


def _teacher_similarity(sides: Sides, batch: Batch, config: LossConfig, weights: TermWeights) -> Tensor:
    """The towers' own scores, mean-pooled frames against sentence vectors, as the teacher's table."""
    whole = [(t.summary * t.frame_mask.unsqueeze(-1)).sum(1) for t in batch.videos]
    teacher = batch.meaning[:, 0] @ F.normalize(torch.cat(whole), dim=-1).T
    student = sides.text_features.flat(weights) @ sides.flat_videos().T
    return losses.similarity_distillation(config.scale * student, config.scale * teacher)


def check_finite(terms: dict[str, Tensor]) -> str:
    """The name of the first term that is not finite, or an empty string."""
    return next((name for name, value in terms.items() if not bool(torch.isfinite(value))), "")
