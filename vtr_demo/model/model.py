"""The whole model: one backbone, MCSAN's levels and S2CA's concepts, one score.

    s = sum_l g_l <t_l, v_l>  +  lambda sum_k w_k o_k <C^t_k, C^v_k>  =  <flat(text), flat(video)>

g, w depend on the text only and o on the video only, so the score is one inner product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr_demo.config import ModelConfig
from vtr_demo.model.attributes import Attributes
from vtr_demo.model.layers import zero_linear
from vtr_demo.model.mcsan import LevelOutput, TextLevels, VideoLevels
from vtr_demo.model.s2ca import ConceptOutput, Concepts
from vtr_demo.structures import (
    LEVELS,
    Alignment,
    QueryPart,
    Sentence,
    TermWeights,
    TextFeatures,
    TextTokens,
    VideoFeatures,
    VideoTokens,
)

WHOLE_SENTENCE = "whole sentence"


@dataclass(frozen=True)
class Encoded:
    """One modality after the heads: what training needs beyond the features of the score."""

    levels: LevelOutput
    concepts: ConceptOutput
    level_logits: Tensor | None
    """(B, L) for text, None for video."""
    concept_tokens: Tensor
    """(B, N, D) the tokens that were allocated."""
    concept_mask: Tensor
    """(B, N) bool."""


class VTRModel(nn.Module):
    """The heads over a backbone's tokens; the backbone itself stays outside.

    ``patch_width`` is Dv, ``width`` the joint width D, ``attributes`` the vocabulary size of each
    level (empty: no attribute projection).
    """

    reduction: Tensor
    reduction_mean: Tensor

    def __init__(self, config: ModelConfig, *, patch_width: int, width: int, attributes: Sequence[int] = ()) -> None:
        super().__init__()
        self.config, self.patch_width, self.width = config, patch_width, width
        entered = min(config.reduce, patch_width) or patch_width
        reduced = entered < patch_width
        self.register_buffer("reduction", torch.eye(patch_width, entered) if reduced else torch.empty(0))
        self.register_buffer("reduction_mean", torch.zeros(patch_width if reduced else 0))
        hidden = config.hidden
        self.video = VideoLevels(entered, width, hidden, config.heads, config.dropout, focus=config.focus)
        self.text = TextLevels(width, hidden, config.heads, config.dropout, focus=config.focus)
        self.concepts = Concepts(width, config.concepts, config.concept_width, centred_shift=config.centred_shift)
        self.concept_video = zero_linear(hidden, width)
        self.concept_text = zero_linear(hidden, width)
        self.attributes = Attributes(width, attributes) if attributes else None

    @property
    def flat_width(self) -> int:
        """F = L*D + K*Dc, the width of both sides of the one inner product."""
        return len(LEVELS) * self.width + self.config.concepts * self.config.concept_width

    @property
    def default_weights(self) -> TermWeights:
        """Untrained: the global level alone. Trained: the config's level weights and lambda."""
        if not self.config.trained:
            return TermWeights(1.0, 0.0, 0.0, 0.0, 0.0)
        return self.training_weights

    @property
    def training_weights(self) -> TermWeights:
        """Weights of the score in training and validation: those that are served once trained."""
        return TermWeights(*self.config.level_weights, self.config.concept_weight)

    # ------------------------------------------------------------------ encoding
    def reduced(self, tokens: VideoTokens) -> VideoTokens:
        """Project patches to the width of the heads' input, unless they have it (as cached tokens do)."""
        if not self.reduction.numel() or tokens.patches.shape[-1] == self.reduction.shape[1]:
            return tokens
        mean, directions = self.reduction_mean.to(tokens.patches.device), self.reduction.to(tokens.patches.device)
        return replace(tokens, patches=(tokens.patches.float() - mean) @ directions)

    @torch.no_grad()
    def fit_reduction(self, patches: Tensor) -> None:
        """Set the reduction, where there is one, to the principal directions of patch tokens (N, Dv)."""
        if self.reduction.numel():
            mean = patches.mean(0)
            _, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean))
            self.reduction_mean.copy_(mean)
            self.reduction.copy_(vectors.flip(1)[:, : self.reduction.shape[1]])

    @property
    def reduction_key(self) -> tuple[int, list[float]]:
        """What tells one reduction from another in the name of a token cache."""
        return self.config.reduce, self.reduction.flatten()[:64].tolist()

    def forward_video(self, tokens: VideoTokens, levels: LevelOutput | None = None) -> Encoded:
        """Compute levels, unless they are given, and concepts of a padded batch of clips."""
        tokens = self.reduced(tokens)
        levels = levels or self.video(tokens)
        x = levels.base + self.concept_video(levels.hidden[0])
        real = tokens.frame_mask[:, :, None].expand(tokens.patches.shape[:3])
        mask = F.pad(real, (1, 0)).flatten(1)  # the summary token belongs to no concept
        return Encoded(levels, self.concepts(x, mask, "video"), None, x, mask)

    def forward_text(self, tokens: TextTokens, levels: tuple[LevelOutput, Tensor] | None = None) -> Encoded:
        """Compute levels and their logits, unless they are given, and concepts of a padded batch of sentences."""
        out, logits = levels or self.text(tokens)
        x = out.base + self.concept_text(out.hidden[0])
        mask = torch.cat([torch.zeros_like(tokens.word_mask[:, :1]), tokens.word_mask], dim=1)
        return Encoded(out, self.concepts(x, mask, "text"), logits, x, mask)

    def encode_video(self, tokens: VideoTokens, *, parts: bool = False) -> VideoFeatures:
        """Encode a padded batch of clips; with ``parts``, also the summands of every vector."""
        out, grid = self.forward_video(tokens), (tokens.patches.shape[1], -1)
        return VideoFeatures(
            out.levels.vectors,
            out.concepts.vectors,
            out.concepts.index().unflatten(1, grid),
            self.video.parts(out.levels).unflatten(2, grid) if parts else None,
            self.concepts.parts(out.concepts, out.concept_tokens, "video").unflatten(2, grid) if parts else None,
            out.concepts.soft.unflatten(2, grid) if parts else None,
        )

    def encode_text(self, tokens: TextTokens, *, parts: bool = False) -> TextFeatures:
        """Encode a padded batch of sentences; with ``parts``, also the summands of every vector."""
        return self.text_features(self.forward_text(tokens), parts=parts)

    def text_features(self, out: Encoded, *, parts: bool = False) -> TextFeatures:
        """The text side of the score from ``forward_text``."""
        assert out.level_logits is not None
        return TextFeatures(
            out.levels.vectors,
            out.level_logits,
            out.concepts.vectors,
            self.concepts.text_weights(out.concepts),
            out.concepts.index(),
            self.text.parts(out.levels) if parts else None,
            self.concepts.parts(out.concepts, out.concept_tokens, "text") if parts else None,
            out.concepts.soft if parts else None,
        )

    # ------------------------------------------------------------------ scoring
    def scores(self, text: TextFeatures, video: VideoFeatures, weights: TermWeights | None = None) -> Tensor:
        """(B_text, B_video): the one inner product."""
        return text.flat(weights or self.default_weights) @ video.flat().T

    @torch.no_grad()
    def align(
        self,
        sentence: Sentence,
        text: TextTokens,
        video: VideoTokens,
        seconds: np.ndarray,
        weights: TermWeights | None = None,
    ) -> Alignment:
        """Score one sentence against one clip, with every summand down to (word, frame, patch)."""
        words = (WHOLE_SENTENCE, *(word.text for word in sentence.words))
        features = self.encode_text(text.to(next(self.parameters()).device), parts=True)
        query = [QueryPart(1.0, features, tuple(range(len(words))))]
        return self.align_query(words, query, video, seconds, weights)

    @torch.no_grad()
    def align_query(
        self,
        words: Sequence[str],
        query: Sequence[QueryPart],
        video: VideoTokens,
        seconds: np.ndarray,
        weights: TermWeights | None = None,
    ) -> Alignment:
        """Score a query of several parts against one clip; ``words`` name the rows that the parts refer to."""
        weights = weights or self.default_weights
        v = self.encode_video(video.to(next(self.parameters()).device), parts=True)
        assert v.level_parts is not None
        assert v.concept_parts is not None
        assert v.soft is not None
        shape = (len(words), *v.level_parts.shape[2:4])
        levels, concepts = v.levels.new_zeros(len(LEVELS), *shape), v.levels.new_zeros(shape)
        held, soft, score = np.full(len(words), -1), np.zeros((len(words), self.config.concepts), np.float32), 0.0
        for part in query:
            t, rows = part.features, list(part.rows)
            assert t.level_parts is not None
            assert t.concept_parts is not None
            assert t.soft is not None
            gates, shares = part.factor * t.gates(weights)[0], part.factor * t.shares(weights)[0]
            levels[:, rows] += torch.einsum("l,lwd,ltpd->lwtp", gates, t.level_parts[0], v.level_parts[0])
            concepts[rows] += torch.einsum("k,kwd,ktpd->wtp", shares, t.concept_parts[0], v.concept_parts[0])
            held[rows] = t.allocation[0].cpu().numpy()
            soft[rows] = t.soft[0].T.cpu().numpy()
            score += part.factor * float(self.scores(t, v, weights)[0, 0])
        return Alignment(
            score=score,
            level_terms=levels.cpu().numpy(),
            concept_terms=concepts.cpu().numpy(),
            word_concept=held,
            patch_concept=v.allocation[0].cpu().numpy(),
            concept_count=self.config.concepts,
            words=tuple(words),
            seconds=seconds,
            grid=video.grid,
            word_soft=soft,
            patch_soft=v.soft[0].permute(1, 2, 0).cpu().numpy(),
        )

    @torch.no_grad()
    def tags(self, video: VideoFeatures) -> tuple[Tensor, ...]:
        """Return the attribute probabilities of each level, L tensors (B, A_l); empty when untrained."""
        if self.attributes is None:
            return ()
        return tuple(logits.sigmoid() for logits in self.attributes(video.levels))


def join_texts(parts: Sequence[TextFeatures]) -> TextFeatures:
    """Concatenate batches of sentences, without allocations and parts."""
    return TextFeatures(
        torch.cat([part.levels for part in parts]),
        torch.cat([part.level_logits for part in parts]),
        torch.cat([part.concepts for part in parts]),
        torch.cat([part.concept_weights for part in parts]),
        torch.empty(0, 0, dtype=torch.long),
    )


def join_videos(parts: Sequence[VideoFeatures]) -> VideoFeatures:
    """Concatenate batches of clips, without allocations and parts."""
    levels, concepts = (torch.cat([getattr(p, name) for p in parts]) for name in ("levels", "concepts"))
    return VideoFeatures(levels, concepts, torch.empty(0, 0, 0, dtype=torch.long))


def build_model(config: ModelConfig, backbone: Any, attributes: Sequence[int] = ()) -> VTRModel:
    """Build an untrained model for the widths of ``backbone``."""
    return VTRModel(config, patch_width=backbone.patch_width, width=backbone.joint_width, attributes=attributes).eval()
