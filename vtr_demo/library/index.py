"""The vectors of a library, searched by inner product. The only file that imports faiss.

A ``VectorStore`` has five methods; whichever is used, scores are computed from the vectors themselves by
``exact_scores``, so that all give the same answer to the bit. ``FaissVectors`` is the default.
"""

from __future__ import annotations

import hashlib
import io
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vtr_demo.errors import LibraryError, ScoreError
from vtr_demo.files import draft_of, replace_file

MEMBER_BITS = 16
"""A vector's id is its group (a clip's number) shifted by these bits, plus its place in the group."""
EXACT_UP_TO = 20_000
"""Vectors that are all scored exactly; among more, codes choose which are (our decision: 200 MB and some 20 ms)."""
SEGMENT_ROWS = 8_192
"""Vectors that are coded together and lie in one file."""
RESCORED = 1_000
"""Least number of vectors scored exactly after a search among codes (our decision; README.md has what was measured)."""
CODED = 512
"""Numbers of a vector that are coded, in the subspace that holds most of the vectors. Measured on the bundled model's
(2,560 numbers): a search takes a fifteenth of the time of coding all of them, and with any one term alone the ten best
of 60,000 were among the first 2,000 (with 384 not all); of the global level's 384 numbers alone, 97.8 % were among
the first 400."""
_DRIFTED = 1.5
"""How many times as much outside of the subspace makes a segment fit one of its own."""
_LEAST, _MORE = 64, 4
"""How many of a segment are looked at first, beside so many times as many as are expected there."""
_LEVELS, _CHUNK, _TIE, _FEW = 16, 128, 1e-4, 32


@dataclass(frozen=True)
class Found:
    """What a search returns, best first and the smaller id first where scores are equal.

    certain: no vector that was left out can belong here: all were scored, or a bound on the codes' error says so.
    """

    ids: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray
    certain: bool


Read = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Gets the ids (N,) and vectors (N, F) of a group from where they come from; raises ``LibraryError``."""


class VectorStore(Protocol):
    """Vectors (N, F) float32 by 64-bit ids; a group's vectors are added in one call."""

    def add(self, ids: np.ndarray, vectors: np.ndarray, tags: np.ndarray) -> None:
        """Add vectors; ``tags`` (N,) int64 say what content they belong to. Ids that are there are replaced."""

    def remove(self, groups: np.ndarray) -> None:
        """Remove all vectors of these groups; unknown ones change nothing."""

    def search(
        self,
        query: np.ndarray,
        k: int,
        *,
        groups: np.ndarray | None = None,
        without: np.ndarray | None = None,
        grouped: bool = True,
    ) -> Found:
        """Find the ``k`` largest inner products with ``query`` (F,), among ``groups`` if given, else of all but
        ``without``, and with ``grouped`` only the best of each group."""

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


def best_places(ids: np.ndarray, scores: np.ndarray, k: int, grouped: bool) -> np.ndarray:
    """Return the places of the ``k`` best, with ``grouped`` one a group; of equal scores the smaller id first."""
    order = np.lexsort((ids, -scores))
    if grouped:
        _, first = np.unique(ids[order] >> MEMBER_BITS, return_index=True)
        order = order[np.sort(first)]
    return order[:k]


def found(ids: np.ndarray, vectors: np.ndarray, query: np.ndarray, k: int, grouped: bool, *, certain: bool) -> Found:
    """Return the ``k`` best of candidates with ``vectors`` (N, F), by their exact scores."""
    scores = exact_scores(vectors, query)
    places = best_places(ids, scores, k, grouped)
    return Found(ids[places], scores[places], vectors[places], certain)


def checked(vectors: np.ndarray, width: int) -> np.ndarray:
    """Return vectors (N, F) as contiguous float32; another width, NaN and infinite numbers raise ``ScoreError``."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ScoreError(f"The index holds vectors of width {width}, got an array of {rows.shape}.")
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
        raise ScoreError(f"Vectors {bad} hold NaN or infinite numbers; encode those inputs again.")
    return rows


# --------------------------------------------------------------------------- segments
class _Segment:
    """Vectors (n, F) in memory or mapped from a file, sorted by id, and their codes."""

    def __init__(self, ids: np.ndarray, vectors: np.ndarray, live: np.ndarray | None = None) -> None:
        self.ids, self.vectors = ids, vectors
        self.live = np.ones(len(ids), bool) if live is None else live
        self.codes: Any = None
        self.basis = np.zeros((0, 0), np.float32)
        self.residual = np.zeros(0)
        """Largest error of a code, by chunk of numbers, and last the largest part outside of the subspace."""
        self.extent = np.zeros(0, np.float32)
        self.crcs: np.ndarray | None = None
        self.checked = np.zeros(len(ids), bool)
        self.path: Path | None = None

    def rows_of(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of ``ids`` are here and alive, and their rows."""
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        here = (self.ids[rows] == ids) & self.live[rows] if len(self.ids) else np.zeros(len(ids), bool)
        return here, rows[here]

    def clear(self, mask: np.ndarray, groups: np.ndarray) -> None:
        """Set ``mask`` (n,) to False at the vectors of ``groups``."""
        if len(groups) > _FEW:
            mask[contains(np.sort(groups), self.ids >> MEMBER_BITS)] = False
            return
        for group in groups if len(self.ids) else ():
            first, last = np.searchsorted(self.ids, [group << MEMBER_BITS, (group + 1) << MEMBER_BITS])
            mask[first:last] = False


def contains(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return (n,) bool: which of ``wanted`` are among the sorted ``values``."""
    if not len(values):
        return np.zeros(len(wanted), bool)
    return values[np.minimum(np.searchsorted(values, wanted), len(values) - 1)] == wanted


def _subspace(vectors: np.ndarray) -> np.ndarray:
    """Return (F, C) orthonormal columns that span most of vectors (n, F): subspace iteration (Halko et al. 2011).

    Not centred, so that inner products keep their order.
    """
    width = vectors.shape[1]
    if width <= CODED:
        return np.eye(width, dtype=np.float32)
    basis = np.random.default_rng(0).standard_normal((width, CODED), dtype=np.float32)
    for _ in range(3):
        basis = np.linalg.qr(vectors.T @ (vectors @ basis))[0]
    inside = vectors @ basis  # along its own axes, so that the codes of narrow ones are as fine
    return np.ascontiguousarray(basis @ np.linalg.eigh(inside.T @ inside)[1])


def _project(vectors: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return vectors (n, F) in a subspace (n, C), the norms (n,) of what is outside, and its share of all squares."""
    coded = vectors @ basis
    whole, inside = (np.einsum("nf,nf->n", one, one, dtype=np.float64) for one in (vectors, coded))
    outside = np.maximum(whole - inside, 0)
    return coded, np.sqrt(outside), float(outside.sum() / max(whole.sum(), 1e-9))


def _encode(vectors: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return 4-bit codes of (n, C) as an index of FAISS, and the largest norm of their errors by chunk.

    Sixteen even levels a number between its extremes: a product quantiser of one number each, which FAISS
    scans with table look-ups in registers, five times as quickly as its scalar quantiser of 4 bits (measured).
    """
    import faiss

    n, width = vectors.shape
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    step = np.maximum((high - low) / (_LEVELS - 1), 1e-9).astype(np.float32)
    levels = np.clip(np.rint((vectors - low) / step), 0, _LEVELS - 1).astype(np.uint8)
    edges = np.arange(0, width, _CHUNK)
    errors = np.add.reduceat((vectors - (low + levels * step)) ** 2, edges, axis=1)
    even = levels if width % 2 == 0 else np.pad(levels, ((0, 0), (0, 1)))
    plain = faiss.IndexPQ(width, width, 4, faiss.METRIC_INNER_PRODUCT)
    centroids = (low[:, None] + step[:, None] * np.arange(_LEVELS)).astype(np.float32)
    faiss.copy_array_to_vector(centroids.ravel(), plain.pq.centroids)
    faiss.copy_array_to_vector((even[:, ::2] | even[:, 1::2] << 4).ravel(), plain.codes)
    plain.is_trained, plain.ntotal = True, n
    packed: Any = faiss.IndexPQFastScan
    return packed(plain), np.sqrt(errors.max(axis=0))


@dataclass(frozen=True)
class _Coded:
    """A query in a subspace (C,), and its norms by chunk, as those of ``_Segment.residual``."""

    query: np.ndarray
    norms: np.ndarray

    @classmethod
    def of(cls, query: np.ndarray, basis: np.ndarray) -> _Coded:
        """From a query (F,) and the subspace's basis (F, C)."""
        inside = query @ basis
        squares = inside.astype(np.float64) ** 2
        outside = max(float(query.astype(np.float64) @ query) - squares.sum(), 0.0)
        norms = np.sqrt(np.append(np.add.reduceat(squares, np.arange(0, len(inside), _CHUNK)), outside))
        return cls(inside, norms)

    def margin(self, segment: _Segment) -> float:
        """Return by how much a code's score may be too low: its error by Cauchy and Schwarz in each chunk and outside
        of the subspace, and that of the table, which is rounded to 8 bits an entry and 16 bits a sum."""
        spans = np.abs(self.query) * segment.extent
        step = max(spans.max(initial=0) / 255, spans.sum() / 65535)
        return float(self.norms @ segment.residual + step * len(spans))


@dataclass(frozen=True)
class _Candidates:
    """Vectors that a search may return: their ids, the places of their segments, and their rows there."""

    ids: np.ndarray
    segments: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, segments: Sequence[_Segment], places: Sequence[tuple[int, np.ndarray]]) -> _Candidates:
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


# --------------------------------------------------------------------------- the default store
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
        self._segments: tuple[_Segment, ...] = ()
        self._tail = _Segment(np.zeros(0, np.int64), np.zeros((0, width), np.float32))
        self._tail_tags = np.zeros(0, np.int64)
        self._pool: ThreadPoolExecutor | None = None
        self._bases: dict[str, np.ndarray] = {}
        self._newest: tuple[np.ndarray, float] | None = None
        """The subspace for the next segment, and the share of squared norms that was outside of it."""

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
            segment = store._load(path, groups, tags, there)
            if segment is not None:
                store._segments += (segment,)
                there[np.searchsorted(groups, np.unique(segment.ids[segment.live] >> MEMBER_BITS))] = True
            elif writable:
                _remove(path)
        if writable:
            for path in directory.glob("*.basis"):
                if path.stem not in store._bases:
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
        self,
        query: np.ndarray,
        k: int,
        *,
        groups: np.ndarray | None = None,
        without: np.ndarray | None = None,
        grouped: bool = True,
    ) -> Found:
        """Search, see ``VectorStore``."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
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
            return self._search_all(segments, masks, query, k, grouped)
        return self._search_codes(segments, masks, total, query, k, grouped)

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

    def memory_bytes(self, *, vectors: bool = True) -> int:
        """Return what is held in memory: codes, ids and, with ``vectors``, those that are not mapped."""
        with self._lock:
            sealed = sum(
                one.ids.nbytes + one.live.nbytes + one.checked.nbytes + (0 if one.crcs is None else one.crcs.nbytes)
                + (one.vectors.nbytes if vectors and one.path is None else 0)
                + (one.codes.codes.size() + 4 * one.codes.pq.centroids.size() if one.codes else 0)
                for one in self._segments
            )  # fmt: skip
            bases = {id(one.basis): one.basis.nbytes for one in self._segments}
            return sealed + sum(bases.values()) + self._tail.ids.nbytes + self._tail.vectors.nbytes * vectors

    # ------------------------------------------------------------------ searching
    def _search_all(
        self, segments: Sequence[_Segment], masks: Sequence[np.ndarray], query: np.ndarray, k: int, grouped: bool
    ) -> Found:
        """Score every allowed vector; blocks of the query without weight are not read."""
        parts = [self._products(one, mask, query) for one, mask in zip(segments, masks, strict=True)]
        scores = np.concatenate([np.zeros(0, np.float32), *parts])
        places = [(n, np.flatnonzero(mask)) for n, mask in enumerate(masks)]
        candidates = _Candidates.of(segments, places)
        best = best_places(candidates.ids, scores, k, grouped)
        if len(best) == k:  # what rounding could have left out comes along
            candidates = candidates.take(scores >= scores[best[-1]] - _TIE)
        return found(candidates.ids, self._gather(segments, candidates), query, k, grouped, certain=True)

    def _products(self, segment: _Segment, mask: np.ndarray, query: np.ndarray) -> np.ndarray:
        places = np.flatnonzero(mask)
        self._check(segment, places)
        rows = segment.vectors if mask.all() else segment.vectors[places]
        scores = np.zeros(len(rows), np.float32)
        for first, last in _weighted_runs(query):
            scores += rows[:, first:last] @ query[first:last]
        return scores

    def _search_codes(
        self,
        segments: Sequence[_Segment],
        masks: Sequence[np.ndarray],
        total: int,
        query: np.ndarray,
        k: int,
        grouped: bool,
    ) -> Found:
        """Take the best by code and score them exactly; more of them until there are ``k``."""
        every = sum(len(one.ids) for one in segments)
        wanted = min(every, int(max(RESCORED, 2 * k) * every / total))
        bases = {id(one.basis): one.basis for one in segments if one.codes is not None}
        coded = {key: _Coded.of(query, basis) for key, basis in bases.items()}
        while True:
            candidates, cutoff = self._candidates(segments, coded, query, wanted)
            candidates = candidates.take(
                np.array([masks[n][row] for n, row in zip(candidates.segments, candidates.rows, strict=True)], bool)
            )
            scores = self._exact_scores(segments, candidates, query)
            places = best_places(candidates.ids, scores, k, grouped)
            if len(places) == k or wanted >= every:
                break
            wanted = min(every, 4 * wanted)
        best, scores = candidates.take(places), scores[places]
        certain = cutoff == -np.inf
        if not certain:
            margins = [coded[id(one.basis)].margin(one) for one in segments if one.codes is not None]
            certain = bool(scores[-1] >= cutoff + max(margins, default=_TIE))
        return Found(best.ids, scores, self._gather(segments, best), certain)

    def _exact_scores(self, segments: Sequence[_Segment], candidates: _Candidates, query: np.ndarray) -> np.ndarray:
        """Score candidates (N,) some at a time, so that their vectors stay in the processor's cache."""
        scores = np.empty(len(candidates.ids), np.float32)
        for n in np.unique(candidates.segments):
            mine = np.flatnonzero(candidates.segments == n)
            for start in range(0, len(mine), _CHUNK):
                some = mine[start : start + _CHUNK]
                scores[some] = exact_scores(self._rows(segments[n], candidates.rows[some]), query)
        return scores

    def _candidates(
        self, segments: Sequence[_Segment], coded: dict[int, _Coded], query: np.ndarray, count: int
    ) -> tuple[_Candidates, float]:
        """Return the ``count`` best by code, dead ones and others that are not allowed among them, and the highest
        score that any other may have by its code."""

        def best(segment: _Segment, most: int) -> tuple[np.ndarray, np.ndarray]:
            if segment.codes is None:
                exact = segment.vectors @ query
                rows = np.argsort(-exact, kind="stable")[:most]
                return rows, exact[rows]
            scores, rows = segment.codes.search(coded[id(segment.basis)].query[None], most)
            return rows[0], scores[0]

        every = sum(len(one.ids) for one in segments)
        most = [min(count, len(one.ids)) for one in segments]
        first = [min(one, _LEAST + _MORE * count * one // every) for one in most]
        with self._lock:
            pool = self._pool = self._pool or ThreadPoolExecutor(thread_name_prefix="vectors")
        parts = list(pool.map(best, segments, first))
        while True:
            scores = np.concatenate([scores for _, scores in parts])
            keep = np.argsort(-scores)[:count]
            cutoff = float(scores[keep[-1]]) if len(keep) == count < every else -np.inf
            short = [n for n, (rows, held) in enumerate(parts) if len(rows) < most[n] and held[-1] > cutoff]
            if not short:  # no segment may have more of the best
                return _Candidates.of(segments, [(n, rows) for n, (rows, _) in enumerate(parts)]).take(keep), cutoff
            for n in short:
                parts[n] = best(segments[n], most[n])

    def _gather(self, segments: Sequence[_Segment], candidates: _Candidates) -> np.ndarray:
        """Return the vectors (N, F) of candidates."""
        out = np.empty((len(candidates.ids), self.width), np.float32)
        for n in np.unique(candidates.segments):
            mine = candidates.segments == n
            out[mine] = self._rows(segments[n], candidates.rows[mine])
        return out

    def _rows(self, segment: _Segment, rows: np.ndarray) -> np.ndarray:
        """Return vectors of a segment by row."""
        self._check(segment, rows)
        return np.asarray(segment.vectors[rows])

    def _check(self, segment: _Segment, rows: np.ndarray) -> None:
        """Hold vectors against their digests when they are first used; one that has changed on disk is read from
        where it came from, and left out from then on where that fails."""
        if segment.crcs is None or self._read is None:
            return
        for row in rows[~segment.checked[rows]].tolist():
            if zlib.crc32(segment.vectors[row].tobytes()) != segment.crcs[row]:
                right = np.zeros((1, self.width), np.float32)
                try:
                    ids, fresh = self._read(int(segment.ids[row] >> MEMBER_BITS))
                    right = fresh[ids == segment.ids[row]]
                except LibraryError:
                    segment.live[row] = False
                if not segment.vectors.flags.writeable:
                    segment.vectors = np.array(segment.vectors)
                segment.vectors[row] = right[0]
            segment.checked[row] = True

    # ------------------------------------------------------------------ keeping
    def _append(self, ids: np.ndarray, rows: np.ndarray, tags: np.ndarray) -> None:
        """Put rows behind the newest ones, in order of their ids; room is doubled, so copies are rare."""
        old, order = self._tail, np.argsort(ids, kind="stable")
        ids, rows, tags = ids[order], rows[order], tags[order]
        n, m = len(old.ids), len(ids)
        if n and ids[0] <= old.ids[-1]:  # a number that came before: sort again, within one segment
            keep = old.live
            ids = np.concatenate([old.ids[keep], ids])
            rows, tags = np.concatenate([old.vectors[keep], rows]), np.concatenate([self._tail_tags[keep], tags])
            order = np.argsort(ids, kind="stable")
            self._tail, self._tail_tags = _Segment(ids[order], rows[order]), tags[order]
            return
        room = old.vectors.base if isinstance(old.vectors.base, np.ndarray) else old.vectors
        if len(room) < n + m:
            room = np.empty((max(2 * n, n + m, 64), self.width), np.float32)
            room[:n] = old.vectors
        room[n : n + m] = rows
        live = np.concatenate([old.live, np.ones(m, bool)])
        self._tail = _Segment(np.concatenate([old.ids, ids]), room[: n + m], live)
        self._tail_tags = np.concatenate([self._tail_tags, tags])

    def _seal(self) -> None:
        """Code the newest vectors and, where there is a folder, write them to files."""
        live = self._tail.live
        segment, tags = _Segment(self._tail.ids[live], self._tail.vectors[live]), self._tail_tags[live]
        if len(segment.ids):
            self._encode(segment)
            if self._directory is not None:
                with suppress(OSError):  # it stays in memory, and is made again at the next opening
                    self._write(segment, tags)
            self._segments += (segment,)
        self._tail = _Segment(np.zeros(0, np.int64), np.zeros((0, self.width), np.float32))
        self._tail_tags = np.zeros(0, np.int64)

    def _encode(self, segment: _Segment) -> None:
        """Code the vectors of a segment in the newest subspace, or in one of their own where much is outside of it."""
        if self._newest is not None:
            basis, usual = self._newest
            coded, outside, share = _project(segment.vectors, basis)
        if self._newest is None or share > _DRIFTED * usual + 1e-6:
            basis = _subspace(segment.vectors)
            coded, outside, share = _project(segment.vectors, basis)
            self._newest = basis, share
        segment.codes, errors = _encode(coded)
        segment.basis, segment.residual = basis, np.append(errors, outside.max())
        segment.extent = _extent(segment.codes)

    def _write(self, segment: _Segment, tags: np.ndarray) -> None:
        """Write vectors and codes, then the table that names them by its digest and makes them count."""
        import faiss

        assert self._directory is not None
        assert self._newest is not None
        self._directory.mkdir(exist_ok=True)
        codes = faiss.serialize_index(segment.codes).tobytes()
        crcs = np.array([zlib.crc32(row.tobytes()) for row in segment.vectors], np.uint32)
        table = io.BytesIO()
        digest = np.frombuffer(hashlib.sha256(codes).digest(), np.uint8)
        basis = segment.basis.tobytes()
        name = hashlib.sha256(basis).hexdigest()
        np.savez(
            table, ids=segment.ids, tags=tags, crcs=crcs, residual=segment.residual, codes=digest, basis=np.array(name),
            usual=np.array(self._newest[1]),
        )  # fmt: skip
        path = self._directory / f"{hashlib.sha256(table.getvalue()).hexdigest()}.npz"
        with draft_of(path.with_suffix(".vectors")) as draft, draft.open("wb") as stream:
            segment.vectors.tofile(stream)
        replace_file(path.with_suffix(".codes"), codes)
        if name not in self._bases:
            replace_file(path.with_name(f"{name}.basis"), basis)
            self._bases[name] = segment.basis
        replace_file(path, table.getvalue())
        segment.vectors = self._mapped(path, len(segment.ids))
        segment.crcs, segment.path = crcs, path

    def _load(self, path: Path, groups: np.ndarray, tags: np.ndarray, there: np.ndarray) -> _Segment | None:
        """Map a segment's files; None where they are damaged or less than half of it counts."""
        import faiss

        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != path.stem:
                return None
            with np.load(io.BytesIO(data), allow_pickle=False) as table:
                ids, mine, crcs, residual = (table[name] for name in ("ids", "tags", "crcs", "residual"))
                digest, name, usual = table["codes"].tobytes(), str(table["basis"]), float(table["usual"])
            vectors = self._mapped(path, len(ids))
            codes = path.with_suffix(".codes").read_bytes()
            if hashlib.sha256(codes).digest() != digest:
                return None
            basis = self._basis(path.with_name(f"{name}.basis"))
        except (OSError, ValueError, KeyError):
            return None
        numbers = ids >> MEMBER_BITS
        places = np.minimum(np.searchsorted(groups, numbers), max(len(groups) - 1, 0))
        live = np.zeros(len(ids), bool)
        if len(groups):
            live = (groups[places] == numbers) & (tags[places] == mine) & ~there[places]
        if 2 * live.sum() < len(ids):
            return None
        segment = _Segment(ids, vectors, live)
        segment.codes, segment.residual = faiss.deserialize_index(np.frombuffer(codes, np.uint8)), residual
        segment.basis, segment.crcs, segment.path = basis, crcs, path
        segment.extent = _extent(segment.codes)
        self._newest = basis, usual
        return segment

    def _mapped(self, path: Path, count: int) -> np.ndarray:
        """Map a segment's vectors; raises ``ValueError`` where the file has another size."""
        path = path.with_suffix(".vectors")
        if path.stat().st_size != 4 * count * self.width:
            raise ValueError(f"{path} has changed")
        return np.memmap(path, np.float32, "r", shape=(count, self.width))

    def _basis(self, path: Path) -> np.ndarray:
        """Read a subspace once; raises ``ValueError`` where it is damaged."""
        if path.stem not in self._bases:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != path.stem:
                raise ValueError(f"{path} has changed")
            self._bases[path.stem] = np.frombuffer(data, np.float32).reshape(self.width, -1)
        return self._bases[path.stem]


def _remove(path: Path) -> None:
    for ending in (".npz", ".codes", ".vectors", ".npy"):  # the last of an earlier release
        with suppress(OSError):
            path.with_suffix(ending).unlink(missing_ok=True)


def _extent(codes: Any) -> np.ndarray:
    """Return (C,) the range of each number's sixteen levels."""
    import faiss

    levels = faiss.vector_to_array(codes.pq.centroids).reshape(-1, _LEVELS)
    return levels[:, -1] - levels[:, 0]


def _weighted_runs(query: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of the runs of chunks in which the query has a weight."""
    used = np.add.reduceat(query != 0, np.arange(0, len(query), _CHUNK)) > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], used, [False]]).astype(np.int8)))
    for first, last in edges.reshape(-1, 2):
        yield first * _CHUNK, min(last * _CHUNK, len(query))
