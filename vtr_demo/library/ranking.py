"""The clips of a library in a vector store: kept in step, ranked for a query, compared with unrelated sentences."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from vtr_demo.errors import LibraryError
from vtr_demo.evaluation.confidence import NullDistribution
from vtr_demo.library.moments import fused
from vtr_demo.library.queries import Queries
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import StoredClip
from vtr_demo.results import ClipFilter
from vtr_demo.structures import TermWeights
from vtr_demo.vectors.base import MEMBER_BITS, VectorStore, member_ids
from vtr_demo.vectors.local import FaissVectors

VECTORS = "index"
"""The folder inside a library that holds full segments of vectors; it can be removed at any time."""
NEAREST = 100
"""Clips that are looked at for whether one stands out, however few are asked for."""
SAMPLE = 2_048
"""Clips by which the null distribution is fitted, spread over the library; of fewer, all (our decision)."""
_NULLS = 64
"""Slider settings of which the null distribution is kept."""


@dataclass(frozen=True)
class RankedClip:
    """A clip's best moment for a query, -1 for the whole clip; vector (F,) is what was scored.

    p_value: the share of unrelated sentences that score as high with some clip; None where the query has no words.
    """

    clip: StoredClip
    moment: int
    score: float
    vector: np.ndarray
    p_value: float | None


@dataclass(frozen=True)
class Ranked:
    """The best clips, best first; searched: how many there were to choose from; certain: see ``index.Found``."""

    clips: tuple[RankedClip, ...]
    searched: int
    certain: bool


@dataclass(frozen=True)
class VectorTable:
    """All of a library at once, for measuring: vectors (N, F), the (clip id, moment) of each, clips by id."""

    vectors: np.ndarray
    owners: tuple[tuple[str, int], ...]
    clips: Mapping[str, StoredClip]


class Ranking:
    """What searches see of a library. Many threads may search while one adds."""

    def __init__(self, library: LibraryReader, width: int, vectors: str = "") -> None:
        """Open the vectors, of ``width`` F, of a library's clips: its own, or in what ``vectors`` names."""
        self._library, self._lock = library, threading.Lock()
        self._nulls: OrderedDict[TermWeights, NullDistribution] = OrderedDict()
        self._unreadable: set[int] = set()
        library.take_changes()
        self.store: VectorStore = (
            self._remote(vectors, width)
            if vectors
            else FaissVectors.open(
                library.directory / VECTORS, *library.contents(), self._read, width, writable=library.writable
            )
        )

    def _remote(self, spec: str, width: int) -> VectorStore:
        """Open a store outside the library and bring it in step with the clips."""
        from vtr_demo.vectors.milvus import MilvusVectors

        store = MilvusVectors(spec, width)
        numbers, tags = self._library.contents()
        there, wanted = store.contents(), dict(zip(numbers.tolist(), tags.tolist(), strict=True))
        if self._library.writable:
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
                        ids, rows = self._read(number)
                        self.store.add(ids, rows, np.full(len(ids), clip.content))
            self._nulls = OrderedDict()

    def rank(
        self,
        queries: Queries,
        flat: np.ndarray,
        words: np.ndarray | None,
        weights: TermWeights,
        k: int,
        where: ClipFilter | None = None,
        leave_out: str = "",
    ) -> Ranked:
        """Rank clips for a query (F,), of which ``words`` (F,) are the part that is compared with other sentences."""
        hidden = None if where is None else self._library.hidden(where)
        groups = None if where is None or hidden is not None else self._library.numbers(where)
        searched = self._library.count(where) if groups is None else len(groups)
        unreadable = self._unreadable.difference(() if hidden is None else hidden.tolist())
        if groups is not None:
            unreadable = unreadable.intersection(groups.tolist())
        count = min(max(k + bool(leave_out), NEAREST), max(1, searched))
        best = self.store.search(flat, count, groups=groups, without=hidden)
        p_values = None
        if words is not None and len(best.ids):
            p_values = self.null(queries, weights).p_values(best.vectors @ words)
        clips = self._library.by_number((best.ids >> MEMBER_BITS).tolist())
        ranked = []
        for i, (key, score) in enumerate(zip(best.ids.tolist(), best.scores.tolist(), strict=True)):
            clip = clips.get(key >> MEMBER_BITS)
            late = hidden is not None and where is not None and clip and clip.visitor not in (where.visitors or ())
            if clip is not None and clip.id != leave_out and not late:  # None: deleted since; late: added since
                p_value = None if p_values is None else float(p_values[i])
                moment = (key & ((1 << MEMBER_BITS) - 1)) - 1
                ranked.append(RankedClip(clip, moment, score, best.vectors[i], p_value))
        return Ranked(tuple(ranked), searched - len(unreadable), best.certain)

    def vectors_of(self, clip: StoredClip) -> np.ndarray:
        """Return what is searched for a clip (M, F), or (1, F) for one without moments."""
        try:
            return self.store.vectors(member_ids(clip.number, self._members(clip)))
        except KeyError as error:
            raise LibraryError(f"{clip.name} is not searchable; rebuild the library.") from error

    def table(self, clips: Sequence[StoredClip]) -> VectorTable:
        """Read all vectors of clips, those that can be read, which takes as much memory as they do."""
        clips, vectors = self._stored(clips)
        owners = tuple((clip.id, int(member) - 1) for clip in clips for member in self._members(clip))
        return VectorTable(vectors, owners, {clip.id: clip for clip in clips})

    def null(self, queries: Queries, weights: TermWeights) -> NullDistribution:
        """Return how high unrelated sentences score in the library; kept for the last 64 settings."""
        with self._lock:
            kept = self._nulls
            if weights in kept:
                kept.move_to_end(weights)
                return kept[weights]
        _, sample = self._stored(self._library.spread(SAMPLE), 2 * SAMPLE)
        null = queries.null(sample, weights, self.store.count())
        with self._lock:
            kept[weights] = null
            while len(kept) > _NULLS:
                kept.popitem(last=False)
        return null

    # ------------------------------------------------------------------ inside
    def _stored(self, clips: Sequence[StoredClip], most: int = 0) -> tuple[list[StoredClip], np.ndarray]:
        """Return those of the clips that can be searched now, and their vectors, some where these are over ``most``."""
        clips = [clip for clip in clips if clip.number not in self._unreadable]
        while True:
            members = (member_ids(one.number, self._members(one)) for one in clips)
            ids = np.concatenate([np.zeros(0, np.int64), *members])
            step = math.ceil(len(ids) / most) if most else 1
            try:
                return clips, self.store.vectors(ids[:: max(1, step)])
            except KeyError as error:  # deleted meanwhile, or not yet taken up
                missing = int(error.args[0]) >> MEMBER_BITS
                clips = [one for one in clips if one.number != missing]

    @staticmethod
    def _members(clip: StoredClip) -> Sequence[int]:
        """Return the members of a clip's group: 0 for the whole clip, else 1 + each moment."""
        return range(1, 1 + len(clip.moments)) if clip.moments else (0,)

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            clip = self._library.by_number([number]).get(number)
            if clip is None:
                raise LibraryError(f"Clip number {number} has been deleted.")
            return member_ids(number, self._members(clip)), fused(self._library.clip_vectors(clip.id))
        except LibraryError:
            self._unreadable.add(number)
            raise
