"""Retrieval metrics: ranks, recall, intervals, attribute precision, use of the concepts.

Ranks are 1-based. Tie rule ("expected"): a positive that ties with negatives gets the mean of its
best and worst possible rank, so that a model which scores everything alike gets the middle rank.
Breaking ties by index or in favour of the positive would reward a collapsed model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, get_args
from typing import Protocol as Structure

import numpy as np
import torch

from vtr_demo.errors import ConfigError, ScoreError
from vtr_demo.structures import TermWeights, TextFeatures, VideoFeatures

METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")

Positives = np.ndarray | Sequence[Set[int]]
"""The right answers of each query: one index each (Q,), a boolean table (Q, N), or a set each."""


# --------------------------------------------------------------------------- ranks
def ranks(scores: np.ndarray, positives: Positives) -> np.ndarray:
    """The rank of the best positive of each query, (Q,) float64, from scores (Q, N).

    Found by counting: 1 + the negatives above it + half the negatives that tie with it (other
    positives never push it down). Any float type; non-finite or misshapen scores raise ``ScoreError``.
    """
    table = _checked(scores)
    positive = _positive_table(positives, table.shape)
    best = np.where(positive, table, -np.inf).max(axis=1, keepdims=True)
    above = (table > best).sum(axis=1)
    level = ((table == best) & ~positive).sum(axis=1)
    return 1.0 + above + level / 2.0


def text_to_video(scores: np.ndarray, video_of_text: Positives) -> np.ndarray:
    """Ranks (texts,) from scores (texts, videos): every caption is a query.

    ``video_of_text`` gives the right clip of each text, or a set where several clips fit.
    """
    return ranks(scores, video_of_text)


def video_to_text(
    scores: np.ndarray,
    video_of_text: Positives,
    protocol: Literal["best_caption", "each_caption"] = "best_caption",
) -> np.ndarray:
    """Ranks of captions for clips, from scores (texts, videos). The protocols:

    ``best_caption``: one query a clip, (videos,); the best-ranked of its captions counts (CLIP4Clip's
    multi-sentence evaluation, used for MSVD and VATEX). Clips without a caption are left out.
    ``each_caption``: one query for each pair of a clip and a caption of it, in the order of the
    texts; its other captions are not counted as wrong (stricter; our decision on the siblings).
    For ``averaged`` results apply ``one_text_a_video`` first.
    """
    table = _checked(scores)
    positive = _positive_table(video_of_text, table.shape)
    if protocol == "best_caption":
        shown = positive.any(axis=0)
        return ranks(table.T[shown], positive.T[shown])
    if protocol != "each_caption":
        raise ScoreError(f"Unknown protocol {protocol!r}; use 'best_caption' or 'each_caption'.")
    texts, videos = np.nonzero(positive)
    rivals = ~positive.T[videos]  # (pairs, texts)
    rows, own = table.T[videos], table[texts, videos][:, None]
    return 1.0 + ((rows > own) & rivals).sum(axis=1) + ((rows == own) & rivals).sum(axis=1) / 2.0


def one_text_a_video(
    scores: np.ndarray, video_of_text: np.ndarray, protocol: Literal["first", "averaged"] = "averaged"
) -> np.ndarray:
    """Scores (videos, videos) with one text a clip, from scores (texts, videos); clips in index order.

    ``first`` keeps each clip's first caption; ``averaged`` takes the mean of its captions, which is
    the score of their mean vector (not brought back to unit length: our decision), since the score
    is an inner product. Papers on VATEX and MSVD use either: name which. The right answers are then
    ``np.arange(videos)``.
    """
    table, clip = _checked(scores), np.asarray(video_of_text)
    if clip.shape != (len(table),):
        raise ScoreError(f"{len(table)} texts but clips for {len(clip)}.")
    groups = [np.flatnonzero(clip == index) for index in range(table.shape[1])]
    if any(len(group) == 0 for group in groups):
        raise ScoreError("Each clip needs a caption for this protocol; leave out those without.")
    if protocol == "first":
        return np.stack([table[group[0]] for group in groups])
    return np.stack([table[group].mean(axis=0) for group in groups])


def _checked(scores: np.ndarray) -> np.ndarray:
    table = np.asarray(scores)
    if table.ndim != 2 or 0 in table.shape:
        raise ScoreError(f"Scores must be a table (queries, candidates) with entries, got {table.shape}.")
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise ScoreError(
            f"The score of query {row} with candidate {column} is {table[row, column]}; "
            "check the features that made it."
        )
    return table.astype(np.float64)


def _positive_table(positives: Positives, shape: tuple[int, ...]) -> np.ndarray:
    """(Q, N) bool; every query must have a right answer."""
    if len(positives) != shape[0]:
        raise ScoreError(f"{shape[0]} queries but right answers for {len(positives)}.")
    if isinstance(positives, np.ndarray) and positives.dtype == bool:
        table = positives
    else:
        table = np.zeros(shape, dtype=bool)
        for row, answers in enumerate(positives):
            columns = sorted(answers) if isinstance(answers, Set) else [int(answers)]
            if columns and not (columns[0] >= 0 and columns[-1] < shape[1]):
                raise ScoreError(f"Query {row} names candidate {columns[-1]}; there are {shape[1]}.")
            table[row, columns] = True
    if table.shape != tuple(shape):
        raise ScoreError(f"The table of right answers is {table.shape}, the scores are {tuple(shape)}.")
    if not table.any(axis=1).all():
        raise ScoreError(f"Query {int(np.argmin(table.any(axis=1)))} has no right answer; leave it out.")
    return table


# --------------------------------------------------------------------------- summaries
def summarize(rank: np.ndarray) -> dict[str, float]:
    """R@1, R@5, R@10 in percent, median and mean rank, of ranks (Q,)."""
    values = _metrics(np.asarray(rank, dtype=np.float64)[None])
    return {name: float(value[0]) for name, value in values.items()}


def _metrics(rank: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric of each row of ranks (R, Q): (R,)."""
    if rank.shape[-1] == 0:
        raise ScoreError("There are no queries to summarise.")
    recall = {f"R@{k}": 100.0 * (rank <= k).mean(axis=-1) for k in (1, 5, 10)}
    return {**recall, "MdR": np.median(rank, axis=-1), "MnR": rank.mean(axis=-1)}


# --------------------------------------------------------------------------- intervals
Interval = tuple[float, float]


def interval(
    rank: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 2000,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of every metric over the queries (Efron and Tibshirani 1993).

    ``groups`` (Q,) names the cluster of each query, e.g. its clip: captions of one clip are not
    independent, so whole clusters are drawn. Same seed, same interval.
    """
    rank = np.asarray(rank, dtype=np.float64)
    drawn = _resampled(rank, lambda row: _metrics(row[None]), seed, resamples, groups)
    return {name: _percentiles(values, level) for name, values in drawn.items()}


def paired_difference(
    ranks_a: np.ndarray,
    ranks_b: np.ndarray,
    metric: str = "R@1",
    *,
    seed: int = 0,
    resamples: int = 2000,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> tuple[float, Interval]:
    """metric(A) - metric(B) on the same queries, and its interval by a paired bootstrap.

    Both models are judged on the same drawn queries, so shared difficulty cancels out.
    """
    if len(ranks_a) != len(ranks_b):
        raise ScoreError(f"The models answered {len(ranks_a)} and {len(ranks_b)} queries, not the same ones.")
    pair = np.stack([np.asarray(ranks_a, np.float64), np.asarray(ranks_b, np.float64)])
    if metric not in METRICS:
        raise ScoreError(f"Unknown metric {metric!r}; known here: {', '.join(METRICS)}.")

    def difference(both: np.ndarray) -> dict[str, np.ndarray]:
        values = _metrics(both)[metric]
        return {metric: values[:1] - values[1:]}

    drawn = _resampled(pair, difference, seed, resamples, groups)
    return float(difference(pair)[metric][0]), _percentiles(drawn[metric], level)


def _resampled(
    rank: np.ndarray,
    measure: Callable[[np.ndarray], dict[str, np.ndarray]],
    seed: int,
    resamples: int,
    groups: np.ndarray | None,
) -> dict[str, np.ndarray]:
    queries = rank.shape[-1]
    labels = np.arange(queries) if groups is None else np.unique(groups, return_inverse=True)[1]
    if labels.shape != (queries,):
        raise ScoreError(f"{queries} queries but {len(labels)} group names.")
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(resamples):
        chosen = rng.integers(len(members), size=len(members))
        index = chosen if groups is None else np.concatenate([members[i] for i in chosen])
        rows.append(measure(rank[..., index]))
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _percentiles(values: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# --------------------------------------------------------------------------- attributes and concepts
def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each attribute, (A,), from scores (N, A) and labels (N, A) bool.

    The step-wise area under the precision-recall curve over distinct thresholds (scikit-learn's
    ``average_precision_score``), so ties count together. NaN for an attribute without positives.
    """
    table, truth = _checked(scores), np.asarray(labels, dtype=bool)
    if truth.shape != table.shape:
        raise ScoreError(f"Labels are {truth.shape}, attribute scores are {table.shape}.")
    return np.array([_one_precision(table[:, a], truth[:, a]) for a in range(table.shape[1])])


def _one_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found = np.cumsum(truth[order])[ends]
    return float(np.sum(np.diff(found, prepend=0) / truth.sum() * found / (ends + 1)))


def head_and_tail(labels: np.ndarray, head: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the most frequent ``head`` share of the attributes that occur, and of the rest.

    From labels (N, A) bool. MCSAN's focal loss is meant for the tail, so report both.
    """
    counts = np.asarray(labels, dtype=bool).sum(axis=0)
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    cut = int(np.ceil(head * len(order)))
    return np.sort(order[:cut]), np.sort(order[cut:])


def usage_entropy(counts: Any) -> float:
    """How evenly the concepts are used: the entropy of token counts (K,) over log K, in [0, 1].

    1: all alike; 0: one concept takes everything (collapse).
    """
    count = np.asarray(counts, dtype=np.float64)
    if count.ndim != 1 or not np.isfinite(count).all() or (count < 0).any() or count.sum() == 0:
        raise ScoreError(f"Concept counts must be finite, not negative and not all zero, got {count}.")
    share = count[count > 0] / count.sum()
    return float(-(share * np.log(share)).sum() / np.log(len(count))) if len(count) > 1 else 1.0


# --------------------------------------------------------------------------- scores put right by the who
NEEDS = "the whole query set"
"""What marks their results."""
SCALE = 100.0
"""Factor on scores before an exponential: CLIP's logit scale."""


def dual_softmax(scores: np.ndarray, scale: float = SCALE) -> np.ndarray:
    """The log of the product of both directions' softmaxes (DSL: Cheng et al. 2021, CAMoE).

    CAMoE multiplies the raw score with the softmax over the queries, which turns the order round
    where scores are negative; the product of two softmaxes does not (our decision).
    """
    logits = scale * _checked_table(scores)
    return logits - _log_sum(logits, 1) + logits - _log_sum(logits, 0)


def query_bank(
    scores: np.ndarray, bank: np.ndarray | None = None, beta: float = 20.0, nearest: int = 1
) -> np.ndarray:
    """QB-Norm with its dynamic inverted softmax (Bogolin et al. 2022, eq. 3-5; beta 20, k 1 there).

    bank (M, N): scores of M bank queries, by rights training captions; default the queries
    themselves. A query whose best candidate is among the ``nearest`` of some bank query has its row
    divided by the bank's softmax mass, the others stay as they are.
    """
    table = _checked_table(scores)
    known = table if bank is None else _checked_table(bank)
    if known.shape[1] != table.shape[1]:
        raise ScoreError(f"The bank scores {known.shape[1]} candidates, the queries {table.shape[1]}.")
    places = np.argpartition(-known, min(nearest, known.shape[1]) - 1, axis=1)[:, :nearest]
    active = np.zeros(table.shape[1], dtype=bool)
    active[places] = True
    inverted = beta * table - _log_sum(beta * known, 0)
    return np.where(active[table.argmax(axis=1)][:, None], inverted, table)


def sinkhorn(scores: np.ndarray, scale: float = SCALE, rounds: int = 10) -> np.ndarray:
    """Log of the matrix whose rows and columns all have the same mass (Sinkhorn-Knopp; Cuturi 2013).

    Used at test time by UCoFiA (Wang et al. 2023). The last step is over the columns (candidates),
    which then sum to exactly Q / N; the rows sum to 1 as far as ``rounds`` brought them.
    """
    table = scale * _checked_table(scores)
    queries, candidates = table.shape
    for _ in range(rounds):
        table = table - _log_sum(table, 1)
        table = table - _log_sum(table, 0) + np.log(queries / candidates)
    return table


NORMALISATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dsl": dual_softmax,
    "qb_norm": query_bank,
    "sinkhorn": sinkhorn,
}


def _checked_table(scores: np.ndarray) -> np.ndarray:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape or not np.isfinite(table).all():
        raise ScoreError(f"Scores must be a finite table (queries, candidates), got {table.shape}.")
    return table


def _log_sum(logits: np.ndarray, axis: int) -> np.ndarray:
    highest = logits.max(axis=axis, keepdims=True)
    return np.asarray(highest + np.log(np.exp(logits - highest).sum(axis=axis, keepdims=True)))


# --------------------------------------------------------------------------- retrieval protocols by name
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
        raise ConfigError(f"Unknown protocol {protocol!r}; use one of {', '.join(PROTOCOLS)}.")
    if protocol in ("first_caption", "averaged_captions"):
        scores, positives = _one_each(scores, positives, protocol, pairs)
    forth, back = scores, scores
    if normalise is not None:
        forth, back = normalise(scores), normalise(scores.T).T
    every = protocol == "each_caption"
    _, clip_of_pair = np.nonzero(positives)
    return Ranks(
        text_to_video(forth, positives),
        video_to_text(back, positives, "each_caption" if every else "best_caption"),
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
    square = one_text_a_video(scores[pairs[:, 0]], pairs[:, 1], "first" if first else "averaged")
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
        raise ConfigError(f"Unknown normalisation {unknown[0]!r}; use {', '.join(NORMALISATIONS)}.")
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
        spread = interval(rank, seed=seed, resamples=resamples, groups=clustered)
        answer[name] = summarize(rank) | {"interval_95": {k: list(v) for k, v in spread.items()}}
    return answer


def ablations(table: Scored, weights: TermWeights, protocol: Protocol = "best_caption") -> dict[str, Any]:
    """R@1 of both directions with each term alone and with each term left out (no training involved)."""
    return {name: _recall(table, other, protocol) for name, other in weights.ablated().items()}


def _recall(table: Scored, weights: TermWeights, protocol: Protocol) -> dict[str, float]:
    t2v, v2t = ranks_of(table, weights, protocol)
    return {
        "text_to_video R@1": summarize(t2v)["R@1"],
        "video_to_text R@1": summarize(v2t)["R@1"],
    }
