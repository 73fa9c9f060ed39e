"""The default store of vectors: this machine's memory and files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from vtr_demo.errors import LibraryError
from vtr_demo.vectors.base import (
    MEMBER_BITS,
    RESCORED,
    NearestVectors,
    best_places,
    checked,
    exact_scores,
    rank_exactly,
)  # fmt: skip
from vtr_demo.vectors.segment import CHUNK, CodedQuery, Codes, Read, Segment, Subspace, contains, remove_files

EXACT_UP_TO = 20_000
"""Vectors that are all scored exactly; among more, codes choose which are (our decision: 200 MB and some 20 ms)."""
SEGMENT_ROWS = 8_192
"""Vectors that are coded together and lie in one file."""
_DRIFTED = 1.5
"""How many times as much outside of the subspace makes a segment fit one of its own."""
_LEAST, _MORE = 64, 4
"""Candidates of a segment that are scored first: ``_LEAST``, and ``_MORE`` times its expected share of the result."""
_TIE = 1e-4
_THREADS = os.cpu_count() or 1
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Candidates:
    """Vectors that a search may return: their ids, the places of their segments, and their rows there."""

    ids: np.ndarray
    segments: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, segments: Sequence[Segment], places: Sequence[tuple[int, np.ndarray]]) -> _Candidates:
        """From the rows of each segment."""
        none = np.zeros(0, np.int64)
        return cls(
            np.concatenate([none, *(segments[n].ids[rows] for n, rows in places)]),
            np.concatenate([none, *(np.full(len(rows), n) for n, rows in places)]),
            np.concatenate([none, *(rows for _, rows in places)]),
        )

    def take(self, keep: np.ndarray) -> _Candidates:
        """Those of a mask or of places."""
        return _Candidates(self.ids[keep], self.segments[keep], self.rows[keep])


class FaissVectors:
    """Vectors in segments: the newest in memory, full ones as files that are mapped, with 4-bit codes in memory.

    A segment's files never change and hold nothing that the library's own files do not: what is damaged or
    missing is made again from those, so no kill and no flipped bit can harm a library. Safe to use from
    several threads.
    """

    def __init__(self, width: int, directory: Path | None = None, read: Read | None = None):
        """``directory`` is where full segments are kept, if anywhere; ``read`` gets a group's vectors anew."""
        self.width, self._directory, self._read = width, directory, read
        self._lock = threading.RLock()
        self._segments: tuple[Segment, ...] = ()
        self._tail = Segment.empty(width)
        self._pool: ThreadPoolExecutor | None = None
        self._subspaces: dict[str, Subspace] = {}
        self._newest: Subspace | None = None
        """The subspace for the next segment."""

    @classmethod
    def open(
        cls, directory: Path, groups: np.ndarray, tags: np.ndarray, read: Read, width: int, *, writable: bool = True
    ) -> FaissVectors:
        """Open the vectors of ``groups`` (N,), ascending, whose content ``tags`` (N,) name.

        What the files in ``directory`` do not hold is fetched by ``read``.
        """
        store = cls(width, directory if writable else None, read)
        there = np.zeros(len(groups), bool)
        for path in sorted(directory.glob("*.npz")):
            segment = Segment.load(path, width, groups[~there], tags[~there], store._subspaces)
            if segment is not None and segment.codes is not None:
                store._segments += (segment,)
                store._newest = segment.codes.subspace
                there[np.searchsorted(groups, np.unique(segment.ids[segment.live] >> MEMBER_BITS))] = True
            elif writable:
                remove_files(path)
        if writable:
            for path in directory.glob("*.basis"):
                if path.stem not in store._subspaces:
                    path.unlink(missing_ok=True)
        for place in np.flatnonzero(~there):
            with suppress(LibraryError):  # the library names it among its problems
                ids, rows = read(int(groups[place]))
                store.add(ids, rows, np.full(len(ids), tags[place]))
        return store

    # ------------------------------------------------------------------ the five methods
    def add(self, ids: np.ndarray, vectors: np.ndarray, tags: np.ndarray) -> None:
        """Add vectors, see ``VectorStore``; costs the same however many there are."""
        rows = checked(vectors, self.width)
        ids, tags = np.asarray(ids, np.int64), np.asarray(tags, np.int64)
        with self._lock:
            self.remove(np.unique(ids >> MEMBER_BITS))
            if len(self._tail.ids) and len(self._tail.ids) + len(ids) > SEGMENT_ROWS:
                self._seal()
            self._append(ids, rows, tags)

    def remove(self, groups: np.ndarray) -> None:
        """Remove groups, see ``VectorStore``."""
        with self._lock:
            for segment in (*self._segments, self._tail):
                segment.clear(segment.live, np.asarray(groups, np.int64))

    def search(
        self, query: np.ndarray, k: int, *, groups: np.ndarray | None = None, without: np.ndarray | None = None
    ) -> NearestVectors:
        """Search, see ``VectorStore``."""
        query = checked(np.asarray(query)[None], self.width)[0]
        with self._lock:
            segments = [one for one in (*self._segments, self._tail) if len(one.ids)]
            masks = [segment.live.copy() for segment in segments]
        if groups is not None:
            wanted = np.sort(np.asarray(groups, np.int64))
            masks = [m & contains(wanted, one.ids >> MEMBER_BITS) for m, one in zip(masks, segments, strict=True)]
        elif without is not None:
            for mask, segment in zip(masks, segments, strict=True):
                segment.clear(mask, without)
        total = sum(int(mask.sum()) for mask in masks)
        if total <= EXACT_UP_TO:
            return self._search_all(segments, masks, query, k)
        return self._search_codes(segments, masks, total, query, k)

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """Return vectors by id, see ``VectorStore``."""
        ids = np.asarray(ids, np.int64)
        out, known = np.empty((len(ids), self.width), np.float32), np.zeros(len(ids), bool)
        with self._lock:
            segments = (*self._segments, self._tail)
        for segment in segments:
            here, rows = segment.rows_of(ids)
            if len(rows):
                out[here] = self._rows(segment, rows)
                known |= here
        if not known.all():
            raise KeyError(int(ids[~known][0]))
        return out

    def count(self) -> int:
        """Return how many vectors there are."""
        with self._lock:
            return sum(int(segment.live.sum()) for segment in (*self._segments, self._tail))

    def memory_bytes(self) -> int:
        """Return what is held in memory beside the vectors: codes, subspaces and ids."""
        with self._lock:
            subspaces = {one.codes.subspace for one in self._segments if one.codes}
            segments = (*self._segments, self._tail)
            return sum(one.nbytes for one in segments) + sum(one.basis.nbytes for one in subspaces)

    # ------------------------------------------------------------------ searching
    def _search_all(
        self, segments: Sequence[Segment], masks: Sequence[np.ndarray], query: np.ndarray, k: int
    ) -> NearestVectors:
        """Score every allowed vector; blocks of the query without weight are not read."""
        parts = [self._products(one, mask, query) for one, mask in zip(segments, masks, strict=True)]
        scores = np.concatenate([np.zeros(0, np.float32), *parts])
        places = [(n, np.flatnonzero(mask)) for n, mask in enumerate(masks)]
        candidates = _Candidates.of(segments, places)
        best = best_places(candidates.ids, scores, k)
        if len(best) == k:  # what rounding could have left out comes along
            candidates = candidates.take(scores >= scores[best[-1]] - _TIE)
        return rank_exactly(candidates.ids, self._gather(segments, candidates), query, k, certain=True)

    def _products(self, segment: Segment, mask: np.ndarray, query: np.ndarray) -> np.ndarray:
        places = np.flatnonzero(mask)
        segment.check(places, self._read)
        rows = segment.vectors if mask.all() else segment.vectors[places]
        scores = np.zeros(len(rows), np.float32)
        for first, last in _weighted_runs(query):
            scores += rows[:, first:last] @ query[first:last]
        return scores

    def _search_codes(
        self, segments: Sequence[Segment], masks: Sequence[np.ndarray], total: int, query: np.ndarray, k: int
    ) -> NearestVectors:
        """Take the best by code and score them exactly; more of them until there are ``k``."""
        every = sum(len(one.ids) for one in segments)
        wanted = min(every, int(max(RESCORED, 2 * k) * every / total))
        codes: dict[Subspace, list[Codes]] = {}
        for one in segments:
            if one.codes is not None:
                codes.setdefault(one.codes.subspace, []).append(one.codes)
        coded = {subspace: CodedQuery(query, subspace) for subspace in codes}
        while True:
            candidates, cutoff = self._candidates(segments, coded, query, wanted)
            candidates = candidates.take(
                np.array([masks[n][row] for n, row in zip(candidates.segments, candidates.rows, strict=True)], bool)
            )
            scores = self._exact_scores(segments, candidates, query)
            places = best_places(candidates.ids, scores, k)
            if len(places) == k or wanted >= every:
                break
            wanted = min(every, 4 * wanted)
        best, scores = candidates.take(places), scores[places]
        certain = cutoff == -np.inf
        if not certain:
            margins = [Codes.margin(some, coded[subspace]) for subspace, some in codes.items()]
            certain = bool(scores[-1] >= cutoff + max(margins, default=_TIE))
        return NearestVectors(best.ids, scores, self._gather(segments, best), certain)

    def _exact_scores(self, segments: Sequence[Segment], candidates: _Candidates, query: np.ndarray) -> np.ndarray:
        """Score candidates (N,) some at a time, so that their vectors stay in the processor's cache."""
        scores = np.empty(len(candidates.ids), np.float32)

        def score(n: int) -> None:
            mine = np.flatnonzero(candidates.segments == n)
            for start in range(0, len(mine), CHUNK):
                some = mine[start : start + CHUNK]
                scores[some] = exact_scores(self._rows(segments[n], candidates.rows[some]), query)

        self._in_threads(score, np.unique(candidates.segments))
        return scores

    def _in_threads(self, function: Callable[[int], _T], numbers: Sequence[int] | np.ndarray) -> list[_T]:
        """Return the function's values, computed in runs: a task for each number would cost more than it does."""
        with self._lock:
            pool = self._pool = self._pool or ThreadPoolExecutor(_THREADS, thread_name_prefix="vectors")
        runs = np.array_split(np.asarray(numbers), min(2 * _THREADS, max(1, len(numbers))))
        return [value for part in pool.map(lambda run: [function(int(n)) for n in run], runs) for value in part]

    def _candidates(
        self, segments: Sequence[Segment], coded: dict[Subspace, CodedQuery], query: np.ndarray, count: int
    ) -> tuple[_Candidates, float]:
        """Return the ``count`` best by code, dead ones and others that are not allowed among them, and the highest
        score that any other may have by its code."""

        def best(n: int, most: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
            segment = segments[n]
            if segment.codes is None:
                exact = segment.vectors @ query
                rows = np.argsort(-exact, kind="stable")[: most[n]]
                return rows, exact[rows]
            return segment.codes.search(coded[segment.codes.subspace], most[n])

        every = sum(len(one.ids) for one in segments)
        most = [min(count, len(one.ids)) for one in segments]
        first = [min(one, _LEAST + _MORE * count * one // every) for one in most]
        parts = self._in_threads(partial(best, most=first), range(len(segments)))
        while True:
            scores = np.concatenate([scores for _, scores in parts])
            keep = np.argsort(-scores)[:count]
            cutoff = float(scores[keep[-1]]) if len(keep) == count < every else -np.inf
            short = [n for n, (rows, held) in enumerate(parts) if len(rows) < most[n] and held[-1] > cutoff]
            if not short:  # no segment may have more of the best
                return _Candidates.of(segments, [(n, rows) for n, (rows, _) in enumerate(parts)]).take(keep), cutoff
            for n in short:
                parts[n] = best(n, most)

    def _gather(self, segments: Sequence[Segment], candidates: _Candidates) -> np.ndarray:
        """Return the vectors (N, F) of candidates."""
        out = np.empty((len(candidates.ids), self.width), np.float32)
        for n in np.unique(candidates.segments):
            mine = candidates.segments == n
            out[mine] = self._rows(segments[n], candidates.rows[mine])
        return out

    def _rows(self, segment: Segment, rows: np.ndarray) -> np.ndarray:
        """Return vectors of a segment by row."""
        segment.check(rows, self._read)
        return np.asarray(segment.vectors[rows])

    # ------------------------------------------------------------------ keeping
    def _append(self, ids: np.ndarray, rows: np.ndarray, tags: np.ndarray) -> None:
        """Put rows behind the newest ones, in order of their ids; room is doubled, so copies are rare."""
        old, order = self._tail, np.argsort(ids, kind="stable")
        ids, rows, tags = ids[order], rows[order], tags[order]
        n, m = len(old.ids), len(ids)
        if n and ids[0] <= old.ids[-1]:  # a number that came before: sort again, within one segment
            keep = old.live
            ids, tags = np.concatenate([old.ids[keep], ids]), np.concatenate([old.tags[keep], tags])
            order, rows = np.argsort(ids, kind="stable"), np.concatenate([old.vectors[keep], rows])
            self._tail = Segment(ids[order], rows[order], tags[order])
            return
        room = old.vectors.base if isinstance(old.vectors.base, np.ndarray) else old.vectors
        if len(room) < n + m:
            room = np.empty((max(2 * n, n + m, 64), self.width), np.float32)
            room[:n] = old.vectors
        room[n : n + m] = rows
        live = np.concatenate([old.live, np.ones(m, bool)])
        self._tail = Segment(np.concatenate([old.ids, ids]), room[: n + m], np.concatenate([old.tags, tags]), live)

    def _seal(self) -> None:
        """Code the newest vectors and, where there is a folder, write them to files."""
        tail, live = self._tail, self._tail.live
        segment = Segment(tail.ids[live], tail.vectors[live], tail.tags[live])
        if len(segment.ids):
            segment.codes = self._encode(segment.vectors)
            if self._directory is not None:
                with suppress(OSError):  # it stays in memory, and is made again at the next opening
                    segment.write(self._directory)
            self._segments += (segment,)
        self._tail = Segment.empty(self.width)

    def _encode(self, vectors: np.ndarray) -> Codes:
        """Code vectors (n, F) in the newest subspace, or in one of their own where much is outside of it."""
        subspace = self._newest or Subspace.fit(vectors)
        coded, outside, share = subspace.project(vectors)
        if share > _DRIFTED * subspace.outside + 1e-6:
            subspace = Subspace.fit(vectors)
            coded, outside, _ = subspace.project(vectors)
        self._newest = subspace
        return Codes.encode(coded, outside, subspace)


def _weighted_runs(query: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of the runs of chunks in which the query has a weight."""
    used = np.add.reduceat(query != 0, np.arange(0, len(query), CHUNK)) > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], used, [False]]).astype(np.int8)))
    for first, last in edges.reshape(-1, 2):
        yield first * CHUNK, min(last * CHUNK, len(query))
