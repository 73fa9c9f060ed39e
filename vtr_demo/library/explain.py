"""The explanation of a hit's score: alignments, word effects, attribute tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from vtr_demo.library.concepts import concept_names
from vtr_demo.library.encoding import encode_parts, whole_frames
from vtr_demo.library.queries import Queries, Query
from vtr_demo.library.ranking import WHOLE_SHARE, fused
from vtr_demo.library.reader import LibraryReader
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.results import Explanation
from vtr_demo.structures import LEVELS, Alignment, TermWeights, VideoFeatures
from vtr_demo.viz.figures import explanation_figure

TAGS_SHOWN = 5


def explain_match(
    queries: Queries,
    library: LibraryReader,
    clip_id: str,
    query: Query,
    moment: int,
    weights: TermWeights,
    moment_scores: Sequence[float] = (),
) -> Explanation:
    """Compute every summand of a score, with the pixels that the model saw; decodes nothing.

    ``moment`` -1 is the whole clip; any other is fused with it as in the ranking (``fused``).
    """
    model = queries.model
    clip, tokens = library.get(clip_id), library.tokens(clip_id)
    clip.check_moment(moment)
    batch = library.frames(clip_id)
    whole, summands = whole_frames(clip.duration_s, len(batch), model), queries.parts(query)

    def align(frames: Sequence[int]) -> Alignment:
        seconds = batch.seconds[list(frames)]
        return model.model.align_query(query.rows, summands, tokens.take(frames), seconds, weights)

    alignment, shown, parts = align(whole), list(whole), [whole]
    if moment >= 0:
        inside = clip.moments[moment].frames
        alignment, shown = merged_alignment(alignment, whole, align(inside), inside)
        parts.append(inside)
    features = encode_parts(model, tokens, parts)[0]
    return Explanation(
        clip_id=clip_id,
        moment=moment,
        sentence=query.sentence,
        alignment=alignment,
        frames=batch.pixels[shown],
        gates=dict(zip(LEVELS, query.gates(weights).tolist(), strict=True)),
        word_effects=queries.word_effects(query, fused(features.flat().cpu().numpy())[0], weights),
        moment_scores=tuple(moment_scores),
        concept_names=concept_names(library, model),
        video_tags=video_tags(model, features),
        crop=batch.crop,
        draw=partial(explanation_figure, clip=clip.name),
    )


def merged_alignment(
    whole: Alignment, whole_frames: Sequence[int], moment: Alignment, moment_frames: Sequence[int]
) -> tuple[Alignment, list[int]]:
    """Merge the alignments of whole clip and moment into that of the fused score, with its frames in order.

    A frame that both contain gets the sum of its two shares, so the terms still add up to the
    score. Its concepts are those of the moment, which looks closer.
    """
    frames = sorted({*whole_frames, *moment_frames})
    words, patches = len(whole.words), whole.patch_concept.shape[1]
    levels = np.zeros((len(whole.level_terms), words, len(frames), patches), np.float32)
    concepts = np.zeros((words, len(frames), patches), np.float32)
    allocation = np.full((len(frames), patches), -1, whole.patch_concept.dtype)
    soft = None if whole.patch_soft is None else np.zeros((len(frames), patches, whole.concept_count), np.float32)
    seconds = np.zeros(len(frames))
    shares = ((whole, whole_frames, WHOLE_SHARE), (moment, moment_frames, 1 - WHOLE_SHARE))
    for alignment, indices, share in shares:
        rows = np.searchsorted(frames, indices)
        place: Any = (..., rows, slice(None))
        np.add.at(levels, place, share * alignment.level_terms)
        np.add.at(concepts, place, share * alignment.concept_terms)
        allocation[rows], seconds[rows] = alignment.patch_concept, alignment.seconds
        if soft is not None:
            soft[rows] = alignment.patch_soft
    score = sum(share * alignment.score for alignment, _, share in shares)
    merged = replace(
        whole, score=score, level_terms=levels, concept_terms=concepts, patch_concept=allocation, seconds=seconds,
        patch_soft=soft,
    )  # fmt: skip
    return merged, frames


def video_tags(model: RetrievalModel, video: VideoFeatures) -> dict[str, tuple[tuple[str, float], ...]]:
    """Return the likeliest attributes of a clip by level, with probabilities; empty when untrained."""
    vocabulary = model.vocabulary
    if vocabulary is None:
        return {}
    tags = {}
    for level, probabilities in zip(LEVELS, model.model.tags(video), strict=True):
        best = torch.topk(probabilities[0], min(TAGS_SHOWN, probabilities.shape[1]))
        names = vocabulary.names[level]
        tags[level] = tuple((names[int(i)], float(p)) for p, i in zip(*best, strict=True))
    return tags
