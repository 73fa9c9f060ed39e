"""Retrieval metrics: ranks, recall with bootstrap intervals, two protocols.

Ranks are 1-based. Tie rule ("expected"): a positive that ties with negatives gets the mean of its
best and worst possible rank, so that a model which scores everything alike gets the middle rank.
Breaking ties by index or in favour of the positive would reward a collapsed model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args
from typing import Protocol as Structure

import numpy as np
import torch

from vtr_demo.config import Protocol
from vtr_demo.errors import ConfigError, ScoreError
from vtr_demo.structures import TermWeights, TextFeatures, VideoFeatures

METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")

PROTOCOLS: tuple[str, ...] = get_args(Protocol)
"""How several captions of a clip, and equal captions of several clips, count.

``merged``: equal captions are one query, and any of their clips is right. ``as_published``: each
caption is its own query with its one clip, as CLIP4Clip counts. From video to text, both take the
best-ranked of a clip's captions (CLIP4Clip's multi-sentence evaluation, used for MSVD and VATEX).
"""


# --------------------------------------------------------------------------- ranks
def ranks(scores: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Return the rank of the best positive of each query, (Q,) float64, from scores and positives bool (Q, N).

    The rank is 1 + the negatives above it + half the negatives that tie with it; other positives
    never push it down. Raises ``ScoreError`` for non-finite or misshapen scores.
    """
    table = _checked(scores)
    positive = _positive_table(positives, table.shape)
    best = np.where(positive, table, -np.inf).max(axis=1, keepdims=True)
    above = (table > best).sum(axis=1)
    tied = ((table == best) & ~positive).sum(axis=1)
    return 1.0 + above + tied / 2.0


@dataclass(frozen=True)
class Ranks:
    """Ranks of both directions' queries; the groups name the clip that each query belongs to."""

    text_to_video: np.ndarray
    video_to_text: np.ndarray
    text_groups: np.ndarray
    video_groups: np.ndarray


def retrieval_ranks(
    scores: np.ndarray, positives: np.ndarray, protocol: Protocol = "merged", pairs: np.ndarray | None = None
) -> Ranks:
    """Rank both directions from scores and positives (texts, videos); clips without captions are no queries.

    ``pairs`` (N, 2) lists every caption as (text, clip), which ``as_published`` needs where one clip has
    equal captions; by default each positive is one caption.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"Unknown protocol {protocol!r}; use one of {', '.join(PROTOCOLS)}.")
    table = _checked(scores)
    positive = _positive_table(positives, table.shape)
    if protocol == "as_published":
        texts, clips = (np.argwhere(positive.T)[:, ::-1] if pairs is None else pairs).T
        table, positive = table[texts], clips[:, None] == np.arange(table.shape[1])
    captioned = np.flatnonzero(positive.any(axis=0))
    return Ranks(
        ranks(table, positive), ranks(table.T[captioned], positive.T[captioned]), positive.argmax(axis=1), captioned
    )


def _checked(scores: np.ndarray) -> np.ndarray:
    table = np.asarray(scores)
    if table.ndim != 2 or 0 in table.shape:
        raise ScoreError(f"Scores must be a table (queries, candidates) with entries, got {table.shape}.")
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise ScoreError(
            f"The score of query {row} with candidate {column} is {table[row, column]}; "
            "check the features that it was computed from."
        )
    return table.astype(np.float64)


def _positive_table(positives: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(Q, N) bool; every query must have a right answer."""
    if positives.dtype != bool or positives.shape != shape:
        raise ScoreError(f"The right answers are {positives.dtype} {positives.shape}, not bool as the scores {shape}.")
    if not positives.any(axis=1).all():
        raise ScoreError(f"Query {int(np.argmin(positives.any(axis=1)))} has no right answer; leave it out.")
    return positives


# --------------------------------------------------------------------------- summaries and intervals
def summarize(rank: np.ndarray) -> dict[str, float]:
    """Return R@1, R@5, R@10 in percent, median and mean rank, of ranks (Q,)."""
    return dict(zip(METRICS, _metrics(np.asarray(rank, dtype=np.float64)).tolist(), strict=True))


def _metrics(rank: np.ndarray) -> np.ndarray:
    """(5,) in the order of ``METRICS``."""
    if not len(rank):
        raise ScoreError("There are no queries to summarise.")
    return np.array([*(100.0 * (rank <= k).mean() for k in (1, 5, 10)), np.median(rank), rank.mean()])


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    count: int,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> np.ndarray:
    """Return 95 % percentile intervals (M, 2) of a statistic over ``count`` samples (Efron and Tibshirani 1993).

    ``statistic`` maps the indices of the samples drawn to (M,) values. ``groups`` (count,) names the
    cluster of each sample, e.g. its clip: captions of one clip are not independent, so whole clusters are
    drawn. Of a single cluster, both ends are the value. Same seed, same interval.
    """
    from scipy import stats

    labels = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    if labels.shape != (count,):
        raise ScoreError(f"{count} samples but {len(labels)} group names.")
    order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
    starts = np.cumsum(sizes) - sizes

    def of_clusters(drawn: np.ndarray) -> np.ndarray:
        size = sizes[drawn]
        first = np.repeat(starts[drawn] - np.cumsum(size) + size, size)
        return statistic(order[first + np.arange(len(first))])

    if len(sizes) < 2:
        return np.repeat(statistic(order)[:, None], 2, axis=1)
    ends = stats.bootstrap(
        (np.arange(len(sizes)),), of_clusters, n_resamples=resamples, method="percentile", vectorized=False, rng=seed
    ).confidence_interval
    return np.stack([ends.low, ends.high], axis=-1)


def interval(
    rank: np.ndarray, *, seed: int = 0, resamples: int = 2000, groups: np.ndarray | None = None
) -> dict[str, list[float]]:
    """Return 95 % bootstrap intervals of every metric over the queries, or over their ``groups``."""
    rank = np.asarray(rank, dtype=np.float64)
    ends = bootstrap(lambda drawn: _metrics(rank[drawn]), len(rank), groups=groups, seed=seed, resamples=resamples)
    return dict(zip(METRICS, ends.tolist(), strict=True))


def paired_differences(
    ranks_a: np.ndarray, ranks_b: np.ndarray, *, seed: int = 0, resamples: int = 2000, groups: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    """Return metric(A) - metric(B) on the same queries, and its 95 % interval by a paired bootstrap.

    Both models are judged on the same drawn queries, so shared difficulty cancels out.
    """
    a, b = np.asarray(ranks_a, np.float64), np.asarray(ranks_b, np.float64)
    if len(a) != len(b):
        raise ScoreError(f"The models answered {len(a)} and {len(b)} queries, not the same ones.")

    def difference(drawn: np.ndarray) -> np.ndarray:
        return _metrics(a[drawn]) - _metrics(b[drawn])

    values = difference(np.arange(len(a))).tolist()
    ends = bootstrap(difference, len(a), groups=groups, seed=seed, resamples=resamples).tolist()
    rows = zip(METRICS, values, ends, strict=True)
    return {name: {"difference": value, "interval_95": pair} for name, value, pair in rows}


# --------------------------------------------------------------------------- the report
class Scored(Structure):
    """Texts and videos that can be scored, and which belong together; see ``Table``."""

    @property
    def positives(self) -> np.ndarray: ...
    @property
    def pairs(self) -> np.ndarray | None: ...
    def scores(self, weights: TermWeights) -> np.ndarray: ...


@dataclass(frozen=True)
class Table:
    """Encoded texts and videos of a test set, and which belong together.

    positives (texts, videos) bool. pairs (N, 2): every caption of every clip as (text, clip), clip by
    clip in the order of the captions; equal captions are one text, so N may exceed the texts.
    """

    texts: TextFeatures
    videos: VideoFeatures
    positives: np.ndarray
    pairs: np.ndarray | None = None

    def scores(self, weights: TermWeights) -> np.ndarray:
        """Return scores (texts, videos)."""
        with torch.no_grad():
            return (self.texts.flat(weights) @ self.videos.flat().T).cpu().numpy()


def ranks_of(table: Scored, weights: TermWeights, protocol: Protocol = "merged") -> Ranks:
    """Rank both directions of a table."""
    return retrieval_ranks(table.scores(weights), table.positives, protocol, table.pairs)


def report(
    table: Scored, weights: TermWeights, *, protocol: Protocol = "merged", resamples: int = 2000
) -> dict[str, Any]:
    """Summarise both directions in percent with 95 % bootstrap intervals over the clips."""
    queries = ranks_of(table, weights, protocol)
    answer: dict[str, Any] = {}
    for name, rank, groups in (
        ("text_to_video", queries.text_to_video, queries.text_groups),
        ("video_to_text", queries.video_to_text, queries.video_groups),
    ):
        answer[name] = summarize(rank) | {"interval_95": interval(rank, resamples=resamples, groups=groups)}
    texts, videos = table.positives.shape
    return answer | {"texts": texts, "videos": videos, "protocol": protocol}


def ablations(table: Scored, weights: TermWeights, protocol: Protocol = "merged") -> dict[str, Any]:
    """Return R@1 of both directions with each term alone and with each term left out, without training."""
    answer = {}
    for name, other in weights.ablated().items():
        queries = ranks_of(table, other, protocol)
        answer[name] = {
            "text_to_video R@1": summarize(queries.text_to_video)["R@1"],
            "video_to_text R@1": summarize(queries.video_to_text)["R@1"],
        }
    return answer


def usage_entropy(counts: np.ndarray) -> float:
    """Return the entropy of the concepts' token counts (K,) over log K: 1 is even use, 0 is collapse."""
    from scipy.stats import entropy

    return float(entropy(counts, base=len(counts))) if len(counts) > 1 else 1.0
