"""A batch after the heads: both modalities of this process, and the vectors of all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vtr_demo import distributed
from vtr_demo.batch import Batch
from vtr_demo.config import LossConfig
from vtr_demo.features import TextFeatures, VideoFeatures
from vtr_demo.model import Encoded, VTRModel
from vtr_demo.records import VideoTokens, pad_video_tokens
from vtr_demo.tokens import sentence_vector


@dataclass(frozen=True)
class Vectors:
    """What ranking compares, one row a text or video: of this process's batch, or of all of them.

    features and video vectors as in ``features``; occupied (B, K) by side; meaning and labels as in
    ``Batch``; taught: the teacher's unit sentence and clip vectors, where they are needed.
    """

    texts: TextFeatures
    text_occupied: Tensor
    levels: Tensor
    concepts: Tensor
    occupied: Tensor
    meaning: Tensor
    labels: tuple[Tensor, ...]
    taught: tuple[Tensor, ...] = ()

    def flat_videos(self) -> Tensor:
        """(B, F): the video side of the score."""
        return torch.cat([self.levels.flatten(1), self.concepts.flatten(1)], dim=1)


@dataclass(frozen=True)
class Sides:
    """Both modalities of this process's batch after the heads, and the vectors of all processes."""

    texts: Encoded
    videos: tuple[Encoded, ...]
    own: Vectors
    every: Vectors
    rivals: VideoFeatures | None = None
    """The clips that contrasts hold against this process's."""


def encode(model: VTRModel, batch: Batch, config: LossConfig, precision: torch.dtype | None = None) -> Sides:
    """Run the heads over a batch, by autocast where ``precision`` is a half; vectors come in float32."""
    with autocast(batch.meaning.device, precision):
        rivals = batch.contrasts.rivals if batch.contrasts and config.pairs else ()
        every = _encoded(model, (*batch.videos, *rivals))
        videos, others = every[: len(batch.videos)], every[len(batch.videos) :]
        texts = model.forward_text(batch.texts)
        features = model.text_features(texts)
    seen = _seen(videos)
    own = Vectors(
        in_float(features),
        texts.concepts.occupied,
        seen.levels,
        seen.concepts,
        torch.cat([out.concepts.occupied for out in videos]),
        batch.meaning,
        batch.labels,
        _taught(batch) if config.distill_similarity else (),
    )
    return Sides(texts, videos, own, _everyone(own), _seen(others) if others else None)


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


def _everyone(own: Vectors) -> Vectors:
    """The vectors of all processes, rank by rank, with gradients to this one's."""
    if distributed.world() == 1:
        return own
    gather = distributed.gather
    text = own.texts
    return Vectors(
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
        tuple(gather(vectors) for vectors in own.taught),
    )


def _taught(batch: Batch) -> tuple[Tensor, Tensor]:
    """The teacher's own unit vectors: sentences, and clips as the mean of their frames."""
    videos = batch.teaching.videos if batch.teaching else batch.videos
    sentences = sentence_vector(batch.teaching.texts) if batch.teaching else batch.meaning[:, 0]
    whole = [(t.whole * t.frame_mask.unsqueeze(-1)).sum(1) for t in videos]
    return sentences, F.normalize(torch.cat(whole), dim=-1)
