"""Exact inner-product search over float32 vectors, by FAISS. The only file that imports faiss."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.errors import LibraryError, ScoreError
from vtr_demo.files import replace_file

_MAGIC = b"VTRINDEX1\n"
_DIGEST_BYTES = 32


class VectorIndex:
    """GatheredFeatures of one width under int64 ids; scores are plain inner products (DESIGN rule 2).

    ``IndexFlatIP`` under ``IndexIDMap2``: exact, and quick enough up to some 100,000 vectors
    (our decision; approximate indexes lose recall for a speed that a demo does not need).
    Safe to use from several threads.
    """

    def __init__(self, width: int) -> None:
        """An empty index for vectors of ``width`` numbers."""
        import faiss

        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.width = width
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(width))
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def ids(self) -> np.ndarray:
        """(N,) int64: the ids, in the order in which the vectors are kept."""
        import faiss

        with self._lock:
            return faiss.vector_to_array(self._index.id_map).astype(np.int64)

    def add(self, ids: Sequence[int] | np.ndarray, vectors: np.ndarray) -> None:
        """Add ``vectors`` (N, F) under ``ids`` (N,), which must be new, different and not negative."""
        rows = self._checked(vectors)
        keys = np.asarray(ids, dtype=np.int64).reshape(-1)
        if len(keys) != len(rows):
            raise ValueError(f"{len(keys)} ids for {len(rows)} vectors")
        if (keys < 0).any() or len(np.unique(keys)) != len(keys) or np.isin(keys, self.ids()).any():
            raise ValueError("ids must be new, all different and not negative")
        with self._lock:
            self._index.add_with_ids(rows, keys)

    def remove(self, ids: Sequence[int] | np.ndarray) -> int:
        """Forget ``ids``; returns how many were there. All other ids keep their vectors."""
        keys = np.asarray(ids, dtype=np.int64).reshape(-1)
        with self._lock:
            return int(self._index.remove_ids(keys))

    def vectors(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """(N, F) float32: the vectors of ``ids``; an unknown id raises ``KeyError``."""
        keys = np.asarray(ids, dtype=np.int64).reshape(-1)
        unknown = np.setdiff1d(keys, self.ids())
        if len(unknown):
            raise KeyError(f"ids {unknown.tolist()} are not in the index")
        with self._lock:
            rows = [self._index.reconstruct(int(key)) for key in keys]
        return np.array(rows, dtype=np.float32).reshape(len(keys), self.width)

    def search(
        self, queries: np.ndarray, k: int, among: Sequence[int] | np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` vectors with the largest inner products for each of ``queries`` (Q, F).

        Returns scores (Q, n) and ids (Q, n), best first and the smaller id first where scores are
        equal; n is k, or the number of vectors where that is smaller: nothing is padded.
        ``among`` restricts the search to those ids.
        """
        import faiss

        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        rows = self._checked(queries)
        parameters, candidates = None, len(self)
        if among is not None:
            keys = np.intersect1d(np.asarray(among, dtype=np.int64), self.ids())
            chosen = faiss.IDSelectorBatch(keys)
            parameters, candidates = faiss.SearchParameters(sel=chosen), len(keys)  # type: ignore[call-arg]
        n = min(k, candidates)
        if n == 0 or len(rows) == 0:
            return np.zeros((len(rows), n), np.float32), np.zeros((len(rows), n), np.int64)
        with self._lock:
            scores, ids = self._index.search(rows, n, params=parameters)
        order = np.lexsort((ids, -scores), axis=1)
        return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)

    def save(self, path: Path) -> None:
        """Write the index in one step, with a checksum (FAISS has none and would load damaged vectors)."""
        import faiss

        with self._lock:
            body = faiss.serialize_index(self._index).tobytes()
        replace_file(path, _MAGIC + hashlib.sha256(body).digest() + body)

    @classmethod
    def load(cls, path: Path) -> VectorIndex:
        """Read an index that ``save`` wrote; a missing, cut or damaged file raises ``LibraryError``."""
        import faiss

        try:
            data = path.read_bytes()
        except OSError as error:
            raise LibraryError(f"The index {path} cannot be read ({error}); rebuild the library.") from error
        start = len(_MAGIC) + _DIGEST_BYTES
        digest, body = data[len(_MAGIC) : start], data[start:]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            raise LibraryError(f"The index {path} is cut or damaged; rebuild the library.")
        inner = faiss.deserialize_index(np.frombuffer(body, dtype=np.uint8))
        loaded = cls(inner.d)
        loaded._index = inner
        return loaded

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ScoreError(f"The index holds vectors of width {self.width}, got an array of {rows.shape}.")
        if not np.isfinite(rows).all():
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
            raise ScoreError(f"Vectors {bad} hold NaN or infinite numbers; encode those inputs again.")
        return rows
