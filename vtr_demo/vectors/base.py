"""What a store of vectors does, and the exact scores that all of them give.

Whichever ``VectorStore`` is used, scores are computed from the vectors themselves by ``exact_scores``, so that all
give the same answer to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vtr_demo.errors import ScoreError

MEMBER_BITS = 16
"""A vector's id is its group (a clip's number) shifted by these bits, plus its place in the group."""
RESCORED = 1_000
"""Least number of vectors scored exactly after a first choice (our decision; README.md has what was measured)."""


@dataclass(frozen=True)
class NearestVectors:
    """What a search returns, best first and the smaller id first where scores are equal.

    certain: no vector that was left out can belong here: all were scored, or a bound on the codes' error says so.
    """

    ids: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray
    certain: bool


class VectorStore(Protocol):
    """Vectors (N, F) float32 by 64-bit ids; a group's vectors are added in one call."""

    def add(self, ids: np.ndarray, vectors: np.ndarray, tags: np.ndarray) -> None:
        """Add vectors; ``tags`` (N,) int64 say what content they belong to. Ids that are there are replaced."""

    def remove(self, groups: np.ndarray) -> None:
        """Remove all vectors of these groups; unknown ones change nothing."""

    def search(
        self, query: np.ndarray, k: int, *, groups: np.ndarray | None = None, without: np.ndarray | None = None
    ) -> NearestVectors:
        """Find the best vector of each of the ``k`` groups with the largest inner products with ``query`` (F,), among
        ``groups`` if given, else of all but ``without``."""

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """Return vectors (N, F) by id; raises ``KeyError`` for one that is not there."""

    def count(self) -> int:
        """Return how many vectors there are."""


def member_ids(group: int, members: Sequence[int] | range) -> np.ndarray:
    """Return the ids (N,) int64 of members of a group."""
    return (np.int64(group) << MEMBER_BITS) | np.asarray(members, np.int64)


def exact_scores(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return inner products (N,) float32 of ``vectors`` (N, F) that do not depend on which are scored together."""
    return (vectors * query).sum(axis=1)  # pairwise, row by row


def best_places(ids: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Return the places of the ``k`` best, one a group; of equal scores the smaller id first."""
    order = np.lexsort((ids, -scores))
    _, first = np.unique(ids[order] >> MEMBER_BITS, return_index=True)
    return order[np.sort(first)][:k]


def rank_exactly(ids: np.ndarray, vectors: np.ndarray, query: np.ndarray, k: int, *, certain: bool) -> NearestVectors:
    """Return the ``k`` best of candidates with ``vectors`` (N, F), by their exact scores."""
    scores = exact_scores(vectors, query)
    places = best_places(ids, scores, k)
    return NearestVectors(ids[places], scores[places], vectors[places], certain)


def checked(vectors: np.ndarray, width: int) -> np.ndarray:
    """Return vectors (N, F) as contiguous float32; another width, NaN and infinite numbers raise ``ScoreError``."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ScoreError(f"The index holds vectors of width {width}, got an array of {rows.shape}.")
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
        raise ScoreError(f"Vectors {bad} hold NaN or infinite numbers; encode those inputs again.")
    return rows
