"""Retrieval protocols by name: who asks, who answers, and what counts when a clip has several captions.

    best_caption       every caption asks for its clip; a clip asks, and its best-placed caption counts
                       (CLIP4Clip's multi-sentence evaluation, reported for MSVD and VATEX)
    each_caption       every caption asks; every pair of a clip and a caption of it is a query of video->text
    first_caption      one caption a clip, the first, in both directions
    averaged_captions  one text a clip, the mean of its captions' vectors, in both directions

Papers on MSVD and VATEX differ in which they use, and video->text moves by ten points with it
(X-CLIP's issue 9: 50.0 against 60.9), so a result names its protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from typing import Protocol as Structure

import numpy as np
import torch

from vtr_demo import metrics
from vtr_demo.errors import BadConfig
from vtr_demo.features import TermWeights, TextFeatures, VideoFeatures
from vtr_demo.normalise import NEEDS, NORMALISATIONS

Protocol = Literal["best_caption", "each_caption", "first_caption", "averaged_captions"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
Normalisation = Callable[[np.ndarray], np.ndarray]
_SIDES = ("text_to_video", "video_to_text")


class Scored(Structure):
    """Texts and videos that can be scored, and which belong together; see ``Table``."""

    @property
    def positives(self) -> np.ndarray: ...
    @property
    def pairs(self) -> np.ndarray | None: ...
    def scores(self, weights: TermWeights) -> np.ndarray: ...


@dataclass(frozen=True)
class Table:
    """Encoded texts and videos of a test, and which belong together.

    positives (texts, videos) bool. pairs (N, 2): every caption of every clip as (text, clip), clip by
    clip in the order of the captions; equal captions are one text, so N may exceed the texts.
    """

    texts: TextFeatures
    videos: VideoFeatures
    positives: np.ndarray
    pairs: np.ndarray | None = None

    def scores(self, weights: TermWeights) -> np.ndarray:
        """(texts, videos)."""
        with torch.no_grad():
            return (self.texts.flat(weights) @ self.videos.flat().T).cpu().numpy()


@dataclass(frozen=True)
class Ranks:
    """Ranks of both directions' queries; groups name the clip that each query belongs to."""

    text_to_video: np.ndarray
    video_to_text: np.ndarray
    text_groups: np.ndarray
    video_groups: np.ndarray


def ranks_by(
    scores: np.ndarray,
    positives: np.ndarray,
    protocol: str,
    pairs: np.ndarray | None = None,
    normalise: Normalisation | None = None,
) -> Ranks:
    """Ranks from scores (texts, videos); ``normalise`` is applied to each direction's own queries."""
    if protocol not in PROTOCOLS:
        raise BadConfig(f"Unknown protocol {protocol!r}; use one of {', '.join(PROTOCOLS)}.")
    if protocol in ("first_caption", "averaged_captions"):
        scores, positives = _one_each(scores, positives, protocol, pairs)
    forth, back = scores, scores
    if normalise is not None:
        forth, back = normalise(scores), normalise(scores.T).T
    every = protocol == "each_caption"
    _, clip_of_pair = np.nonzero(positives)
    return Ranks(
        metrics.text_to_video(forth, positives),
        metrics.video_to_text(back, positives, "each_caption" if every else "best_caption"),
        positives.argmax(axis=1),
        clip_of_pair if every else np.flatnonzero(positives.any(axis=0)),
    )


def _one_each(
    scores: np.ndarray, positives: np.ndarray, protocol: str, pairs: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """One text a clip: scores and right answers (videos, videos)."""
    if pairs is None:
        pairs = np.argwhere(positives.T)[:, ::-1]
    first = protocol == "first_caption"
    square = metrics.one_text_a_video(scores[pairs[:, 0]], pairs[:, 1], "first" if first else "averaged")
    if not first:
        return square, np.eye(len(square), dtype=bool)
    _, start = np.unique(pairs[:, 1], return_index=True)
    return square, positives[pairs[start, 0]]


def ranks_of(table: Scored, weights: TermWeights, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of text to video, one a text, and of video to text by ``protocol``."""
    found = ranks_by(table.scores(weights), table.positives, protocol, table.pairs)
    return found.text_to_video, found.video_to_text


def report(
    table: Scored,
    weights: TermWeights,
    *,
    protocol: Protocol = "best_caption",
    normalise: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Both directions' metrics in percent with 95 % bootstrap intervals over the clips.

    ``normalise`` names rows of ``NORMALISATIONS``; what they give stands apart from the main result.
    """
    unknown = [name for name in normalise if name not in NORMALISATIONS]
    if unknown:
        raise BadConfig(f"Unknown normalisation {unknown[0]!r}; use {', '.join(NORMALISATIONS)}.")
    scores = table.scores(weights)
    answer = _summary(ranks_by(scores, table.positives, protocol, table.pairs), seed, resamples)
    texts, videos = table.positives.shape
    answer |= {"texts": texts, "videos": videos, "video_to_text_protocol": protocol}
    if normalise:
        answer["normalised"] = {
            name: {"needs": NEEDS}
            | _summary(
                ranks_by(scores, table.positives, protocol, table.pairs, NORMALISATIONS[name]),
                seed,
                resamples,
            )
            for name in normalise
        }
    return answer


def _summary(found: Ranks, seed: int, resamples: int) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    columns = (
        (found.text_to_video, found.text_groups),
        (found.video_to_text, found.video_groups),
    )
    for name, (rank, groups) in zip(_SIDES, columns, strict=True):
        clustered = groups if len(np.unique(groups)) < len(groups) else None
        spread = metrics.interval(rank, seed=seed, resamples=resamples, groups=clustered)
        answer[name] = metrics.summarize(rank) | {"interval_95": {k: list(v) for k, v in spread.items()}}
    return answer


def ablations(table: Scored, weights: TermWeights, protocol: Protocol = "best_caption") -> dict[str, Any]:
    """R@1 of both directions with each term alone and with each term left out (no training involved)."""
    return {name: _recall(table, other, protocol) for name, other in weights.ablated().items()}


def _recall(table: Scored, weights: TermWeights, protocol: Protocol) -> dict[str, float]:
    t2v, v2t = ranks_of(table, weights, protocol)
    return {
        "text_to_video R@1": metrics.summarize(t2v)["R@1"],
        "video_to_text R@1": metrics.summarize(v2t)["R@1"],
    }
