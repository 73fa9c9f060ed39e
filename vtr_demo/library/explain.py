"""Hits and their reasons: merged alignments of moments, attribute tags of clips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from vtr_demo.errors import LibraryError
from vtr_demo.library.clip_files import ClipRecord
from vtr_demo.library.concepts import concept_names
from vtr_demo.library.indexing import encode_parts, whole_frames
from vtr_demo.library.queries import Queries, Query
from vtr_demo.library.segments import WHOLE_SHARE, fused
from vtr_demo.library.store import Shelf
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import Explanation, Hit
from vtr_demo.structures import LEVELS, Alignment, TermWeights, VideoFeatures
from vtr_demo.viz.figures import explanation_figure

TAGS_SHOWN = 5


def hit(record: ClipRecord, moment: int, score: float, terms: dict[str, float], confidence: float) -> Hit:
    """A found clip, from the start to the end of its ``moment``; -1 is the whole clip."""
    start_s, end_s = 0.0, record.duration_s
    if moment >= 0:
        start_s, end_s = record.moments[moment].start_s, record.moments[moment].end_s
    return Hit(record.id, record.name, record.source, score, start_s, end_s, moment, confidence, terms)


def explained(
    queries: Queries, shelf: Shelf, clip_id: str, query: Query, moment: int, weights: TermWeights
) -> Explanation:
    """Every summand of a hit's score, and the pixels that the model saw. Nothing is decoded."""
    pretrained = queries.pretrained
    record, tokens = shelf.get(clip_id), shelf.tokens(clip_id)
    if not -1 <= moment < len(record.moments):
        raise LibraryError(f"{record.name} has no moment {moment}; it has {len(record.moments)}.")
    batch = shelf.frames(clip_id)
    whole = whole_frames(record.duration_s, len(batch), pretrained)

    def align(frames: Sequence[int]) -> Alignment:
        seconds = batch.seconds[list(frames)]
        return pretrained.model.align(query.sentence, query.tokens, tokens.take(frames), seconds, weights)

    alignment, shown, parts = align(whole), list(whole), [whole]
    if moment >= 0:
        inside = record.moments[moment].frames
        alignment, shown = merged_alignment(alignment, whole, align(inside), inside)
        parts.append(inside)
    features = encode_parts(pretrained, tokens, parts)[0]
    return Explanation(
        clip_id=clip_id,
        moment=moment,
        sentence=query.sentence,
        alignment=alignment,
        frames=batch.pixels[shown],
        gates=dict(zip(LEVELS, query.features.gates(weights)[0].tolist(), strict=True)),
        word_effects=queries.word_effects(query, fused(features.flat().cpu().numpy())[0], weights),
        concept_names=concept_names(shelf, pretrained),
        video_tags=video_tags(pretrained, features),
        draw=partial(explanation_figure, clip=record.name),
    )


def merged_alignment(
    whole: Alignment, whole_frames: Sequence[int], moment: Alignment, moment_frames: Sequence[int]
) -> tuple[Alignment, list[int]]:
    """One alignment for the fused score, and the frames it covers, in time order.

    A frame that both contain gets the sum of its two shares, so the terms still add up to the
    score. Its concepts are those of the moment, which looks closer.
    """
    frames = sorted({*whole_frames, *moment_frames})
    row = {frame: i for i, frame in enumerate(frames)}
    shares = ((whole, whole_frames, WHOLE_SHARE), (moment, moment_frames, 1 - WHOLE_SHARE))
    words, patches = len(whole.words), whole.patch_concept.shape[1]
    levels = np.zeros((len(whole.level_terms), words, len(frames), patches), np.float32)
    concepts = np.zeros((words, len(frames), patches), np.float32)
    allocation = np.full((len(frames), patches), -1, whole.patch_concept.dtype)
    seconds = np.zeros(len(frames))
    for alignment, indices, share in shares:
        for t, frame in enumerate(indices):
            levels[:, :, row[frame]] += share * alignment.level_terms[:, :, t]
            concepts[:, row[frame]] += share * alignment.concept_terms[:, t]
            allocation[row[frame]] = alignment.patch_concept[t]
            seconds[row[frame]] = alignment.seconds[t]
    return (
        Alignment(
            score=sum(share * alignment.score for alignment, _, share in shares),
            level_terms=levels,
            concept_terms=concepts,
            word_concept=whole.word_concept,
            patch_concept=allocation,
            concept_count=whole.concept_count,
            words=whole.words,
            seconds=seconds,
            grid=whole.grid,
        ),
        frames,
    )


def video_tags(pretrained: RetrievalModel, video: VideoFeatures) -> dict[str, tuple[tuple[str, float], ...]]:
    """The likeliest attributes of a clip by level, with probabilities; empty when untrained."""
    vocabulary = pretrained.vocabulary
    if vocabulary is None:
        return {}
    tags = {}
    for level, probabilities in zip(LEVELS, pretrained.model.tags(video), strict=True):
        best = torch.topk(probabilities[0], min(TAGS_SHOWN, probabilities.shape[1]))
        names = vocabulary.names[level]
        tags[level] = tuple((names[int(i)], float(p)) for p, i in zip(*best, strict=True))
    return tags
