"""The clips of a library in a vector store: kept in step, ranked for a query, compared with unrelated sentences."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np

from vtr_demo.errors import LibraryError
from vtr_demo.evaluation.confidence import CONFIDENT_P, NullDistribution
from vtr_demo.library.queries import Queries, Query
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import StoredClip
from vtr_demo.model.model import VTRModel
from vtr_demo.results import ClipFilter, Hit, SearchResult
from vtr_demo.structures import TermWeights, term_sums
from vtr_demo.vectors.base import MEMBER_BITS, NearestVectors, VectorStore, exact_scores, member_ids
from vtr_demo.vectors.local import FaissVectors

VECTORS = "index"
"""The folder inside a library that holds full segments of vectors; it can be removed at any time."""
WHOLE_SHARE = 0.3
"""The part of a moment's score that comes from the whole clip (our decision). Of ten shares, in films of
seven and of four real clips (see the model card), none finds more films first in both."""
NEAREST = 100
"""Clips that are looked at for whether one stands out, however few are asked for."""
SAMPLE = 2_048
"""Clips by which the null distribution is fitted, spread over the library; of fewer, all (our decision)."""
_NULLS = 64
"""Slider settings of which the null distribution is kept."""


def fused(vectors: np.ndarray) -> np.ndarray:
    """What is searched for a clip with vectors (1+M, F): a weighted mean of the whole and each moment.

    Both are linear in the score, so a hit's score is still one inner product and still adds up.
    Without moments it is the whole clip's vector alone.
    """
    if len(vectors) == 1:
        return vectors
    return WHOLE_SHARE * vectors[:1] + (1 - WHOLE_SHARE) * vectors[1:]


class Ranking:
    """What searches see of a library. Many threads may search while one adds."""

    def __init__(self, library: LibraryReader, model: VTRModel, vectors: str = "") -> None:
        """Open the vectors of a library's clips: its own, or in the store outside that ``vectors`` names."""
        self._library, self._width, self._lock = library, model.width, threading.Lock()
        self.null = lru_cache(_NULLS)(self._fit_null)
        self._unreadable: set[int] = set()
        library.take_changes()
        self.store: VectorStore
        if vectors:
            self.store = self._outside(vectors, model.flat_width)
        else:
            place, contents = library.directory / VECTORS, library.catalogue.contents()
            self.store = FaissVectors.open(place, *contents, self._read, model.flat_width, writable=library.writable)

    def _outside(self, spec: str, width: int) -> VectorStore:
        """Open a store outside the library and bring it in step with the clips."""
        from vtr_demo.vectors.milvus import MilvusVectors

        store = MilvusVectors(spec, width)
        if self._library.writable:
            numbers, tags = self._library.catalogue.contents()
            there, wanted = store.contents(), dict(zip(numbers.tolist(), tags.tolist(), strict=True))
            store.remove(np.array([number for number in there if number not in wanted], np.int64))
            for number, tag in wanted.items():
                if there.get(number) != tag:
                    with suppress(LibraryError):  # the library names it among its problems
                        ids, rows = self._read(number)
                        store.add(ids, rows, np.full(len(ids), tag))
        return store

    def refresh(self) -> None:
        """Take up what has changed in the library since; costs as much as the change is large."""
        with self._lock:
            changes = self._library.take_changes()
            self._unreadable -= changes.keys()
            if changes:
                self.store.remove(np.array([*changes], np.int64))
            for number, clip in changes.items():
                if clip is not None and "vectors" in clip.files:
                    with suppress(LibraryError):  # the library names it among its problems
                        ids, rows = self._read(number, clip)
                        self.store.add(ids, rows, np.full(len(ids), clip.content))
            self.null = lru_cache(_NULLS)(self._fit_null)

    def rank(
        self,
        queries: Queries,
        query: Query,
        weights: TermWeights,
        k: int,
        where: ClipFilter | None = None,
        leave_out: str = "",
    ) -> SearchResult:
        """Rank clips for a query and return the ``k`` best, each by its best moment, without the clip ``leave_out``."""
        catalogue, flat, where = self._library.catalogue, query.flat(weights), where or ClipFilter()
        hidden, groups, searched = catalogue.hidden(where), None, catalogue.sums(where).clips
        unreadable = self._unreadable.difference(() if hidden is None else hidden.tolist())
        if hidden is None and where != ClipFilter():
            groups = catalogue.contents(where)[0]
            searched, unreadable = len(groups), unreadable.intersection(groups.tolist())
        count = min(max(k + bool(leave_out), NEAREST), max(1, searched))
        best = self.store.search(flat, count, groups=groups, without=hidden)
        numbers = (best.ids >> MEMBER_BITS).tolist()
        clips = catalogue.by_number(numbers)
        kept: list[tuple[int, StoredClip]] = []
        for i, number in enumerate(numbers):
            clip = clips.get(number)  # none where it was deleted since
            late = clip and hidden is not None and clip.visitor not in (where.visitors or ())  # added since
            if clip is not None and clip.id != leave_out and not late:
                kept.append((i, clip))
        p_values = self._p_values(queries, query, weights, best)
        hits = tuple(self._hit(clip, best, i, flat, p_values) for i, clip in kept[:k])
        # of all that were looked at: beside exclusions one further down may be the surest
        confident = bool(kept) and (p_values is None or min(p_values[i] for i, _ in kept) <= CONFIDENT_P)
        return SearchResult(
            query.sentence, hits, weights, searched - len(unreadable), bool(confident), note=query.note,
            certain=best.certain,
        )  # fmt: skip

    def _hit(
        self, clip: StoredClip, best: NearestVectors, i: int, flat: np.ndarray, p_values: np.ndarray | None
    ) -> Hit:
        """Describe the place ``i`` of what a search returned, with the terms of its score."""
        moment = (int(best.ids[i]) & ((1 << MEMBER_BITS) - 1)) - 1
        span = (clip.moments[moment].start_s, clip.moments[moment].end_s) if moment >= 0 else (0.0, clip.duration_s)
        confidence = None if p_values is None else 1 - float(p_values[i])
        terms = term_sums(flat, best.vectors[i], self._width)
        return Hit(clip.id, clip.name, clip.source, float(best.scores[i]), *span, moment, confidence, terms)

    def moment_scores(self, clip: StoredClip, flat: np.ndarray) -> tuple[float, ...]:
        """Return the scores of a clip's moments for a query (F,), as searches rank them; empty where it has none, or
        is damaged and not searched."""
        if not clip.moments:
            return ()
        try:
            rows = self.store.vectors(member_ids(clip.number, _members(clip)))
        except KeyError:
            return ()
        return tuple(exact_scores(rows, flat).tolist())

    def table(self, clips: Sequence[StoredClip], most: int = 0) -> tuple[list[StoredClip], np.ndarray]:
        """Return those of the clips that can be searched now, and their vectors (N, F), the rows of each together;
        some of the rows where these are over ``most``."""
        clips = [clip for clip in clips if clip.number not in self._unreadable]
        while True:
            members = (member_ids(one.number, _members(one)) for one in clips)
            ids = np.concatenate([np.zeros(0, np.int64), *members])
            step = math.ceil(len(ids) / most) if most else 1
            try:
                return clips, self.store.vectors(ids[:: max(1, step)])
            except KeyError as error:  # deleted meanwhile, or not yet taken up
                missing = int(error.args[0]) >> MEMBER_BITS
                clips = [one for one in clips if one.number != missing]

    # ------------------------------------------------------------------ inside
    def _fit_null(self, queries: Queries, weights: TermWeights) -> NullDistribution:
        """Return how high unrelated sentences score in the library."""
        _, sample = self.table(self._library.catalogue.spread(SAMPLE), 2 * SAMPLE)
        return NullDistribution.of(queries.nulls, sample, weights, self.store.count())

    def _p_values(
        self, queries: Queries, query: Query, weights: TermWeights, best: NearestVectors
    ) -> np.ndarray | None:
        """Return of each the share of unrelated sentences that score as high with some clip as the words do with it;
        None where the query has no words."""
        words = query.words_flat(weights)
        if words is None or not len(best.ids):
            return None
        return self.null(queries, weights).p_values(best.vectors @ words)

    def _read(self, number: int, clip: StoredClip | None = None) -> tuple[np.ndarray, np.ndarray]:
        try:
            clip = clip or self._library.catalogue.by_number([number]).get(number)
            if clip is None:
                raise LibraryError(f"Clip number {number} has been deleted.")
            return member_ids(number, _members(clip)), fused(self._library.clip_vectors(clip.id))
        except LibraryError:
            self._unreadable.add(number)
            raise


def _members(clip: StoredClip) -> Sequence[int]:
    """Return the members of a clip's group: 0 for the whole clip, else 1 + each moment."""
    return range(1, 1 + len(clip.moments)) if clip.moments else (0,)
