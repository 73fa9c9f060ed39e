"""Exact inner-product search over float32 vectors, by FAISS. The only file that imports faiss."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from vtr_demo.errors import ScoreError


class VectorIndex:
    """Vectors (N, F) numbered by their rows; scores are plain inner products.

    FAISS's ``IndexFlatIP``: exact, and quick enough up to some 100,000 vectors (our decision).
    Safe to use from several threads.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        """Index ``vectors`` (N, F); NaN and infinite numbers raise ``ScoreError``."""
        import faiss

        if vectors.ndim != 2 or vectors.shape[1] < 1:
            raise ValueError(f"vectors must be (N, F), got {vectors.shape}")
        self.width = vectors.shape[1]
        self._index: Any = faiss.IndexFlatIP(self.width)
        self._index.add(self._checked(vectors))
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the ``k`` rows with the largest inner products for each of ``queries`` (Q, F).

        Returns scores (Q, n) and rows (Q, n), best first and the smaller row first where scores are
        equal; n is k, or N where that is smaller: nothing is padded.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        checked, n = self._checked(queries), min(k, len(self))
        if n == 0 or len(checked) == 0:
            return np.zeros((len(checked), n), np.float32), np.zeros((len(checked), n), np.int64)
        with self._lock:
            scores, rows = self._index.search(checked, n)
        order = np.lexsort((rows, -scores), axis=1)
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ScoreError(f"The index holds vectors of width {self.width}, got an array of {rows.shape}.")
        if not np.isfinite(rows).all():
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
            raise ScoreError(f"Vectors {bad} hold NaN or infinite numbers; encode those inputs again.")
        return rows
