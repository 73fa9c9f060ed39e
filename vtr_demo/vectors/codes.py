"""4-bit codes of vectors in the subspace that holds most of them. The only file that imports faiss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CODED = 512
"""Numbers of a vector that are coded, in the subspace that holds most of the vectors. Measured on the bundled model's
(2,560 numbers): a search takes a fifteenth of the time of coding all of them, and with any one term alone the ten best
of 60,000 were among the first 2,000 (with 384 not all); of the global level's 384 numbers alone, 97.8 % were among
the first 400."""
CHUNK = 128
"""Numbers whose error is bounded together."""
_LEVELS = 16


@dataclass(frozen=True, eq=False)
class Subspace:
    """Orthonormal columns (F, C), and the share of squared norms that lies outside for the vectors it was fitted to."""

    basis: np.ndarray
    outside: float

    @classmethod
    def fit(cls, vectors: np.ndarray) -> Subspace:
        """Span most of vectors (n, F): subspace iteration (Halko et al. 2011).

        Not centred, so that inner products keep their order.
        """
        width = vectors.shape[1]
        if width <= CODED:
            return cls(np.eye(width, dtype=np.float32), 0.0)
        basis = np.random.default_rng(0).standard_normal((width, CODED), dtype=np.float32)
        for _ in range(3):
            basis = np.linalg.qr(vectors.T @ (vectors @ basis))[0]
        inside = vectors @ basis  # along its own axes, so that the codes of narrow ones are as fine
        basis = np.ascontiguousarray(basis @ np.linalg.eigh(inside.T @ inside)[1])
        return cls(basis, cls(basis, 0.0).project(vectors)[2])

    def project(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return vectors (n, F) in the subspace (n, C), the norms (n,) of what is outside, and its share of squares."""
        coded = vectors @ self.basis
        whole, inside = (np.einsum("nf,nf->n", one, one, dtype=np.float64) for one in (vectors, coded))
        outside = np.maximum(whole - inside, 0)
        return coded, np.sqrt(outside), float(outside.sum() / max(whole.sum(), 1e-9))


class CodedQuery:
    """A query in a subspace (C,), and its norms by chunk and, last, outside of the subspace."""

    def __init__(self, query: np.ndarray, subspace: Subspace) -> None:
        self.inside = query @ subspace.basis
        squares = self.inside.astype(np.float64) ** 2
        outside = max(float(query.astype(np.float64) @ query) - squares.sum(), 0.0)
        self.norms = np.sqrt(np.append(np.add.reduceat(squares, np.arange(0, len(squares), CHUNK)), outside))


class Codes:
    """Codes of vectors: sixteen even levels a number between its extremes.

    For FAISS this is a product quantiser of one number each, which it scans with table look-ups in registers, five
    times as quickly as its scalar quantiser of 4 bits (measured).
    """

    def __init__(self, index: Any, subspace: Subspace, errors: np.ndarray) -> None:
        """``errors``: the largest norm of a code's error, by chunk, and last that of what is outside."""
        import faiss

        self._index, self.subspace, self.errors = index, subspace, errors
        levels = faiss.vector_to_array(index.pq.centroids).reshape(-1, _LEVELS)
        self._extent = levels[:, -1] - levels[:, 0]

    @classmethod
    def encode(cls, coded: np.ndarray, outside: np.ndarray, subspace: Subspace) -> Codes:
        """Code vectors in a subspace (n, C), whose parts outside of it have the norms ``outside`` (n,)."""
        import faiss

        n, width = coded.shape
        low, high = coded.min(axis=0), coded.max(axis=0)
        step = np.maximum((high - low) / (_LEVELS - 1), 1e-9).astype(np.float32)
        levels = np.clip(np.rint((coded - low) / step), 0, _LEVELS - 1).astype(np.uint8)
        squares = np.add.reduceat((coded - (low + levels * step)) ** 2, np.arange(0, width, CHUNK), axis=1)
        even = levels if width % 2 == 0 else np.pad(levels, ((0, 0), (0, 1)))
        plain = faiss.IndexPQ(width, width, 4, faiss.METRIC_INNER_PRODUCT)
        centroids = (low[:, None] + step[:, None] * np.arange(_LEVELS)).astype(np.float32)
        faiss.copy_array_to_vector(centroids.ravel(), plain.pq.centroids)
        faiss.copy_array_to_vector((even[:, ::2] | even[:, 1::2] << 4).ravel(), plain.codes)
        plain.is_trained, plain.ntotal = True, n
        packed: Any = faiss.IndexPQFastScan
        return cls(packed(plain), subspace, np.append(np.sqrt(squares.max(axis=0)), outside.max()))

    @classmethod
    def from_bytes(cls, data: bytes, subspace: Subspace, errors: np.ndarray) -> Codes:
        """Read what ``to_bytes`` returned."""
        import faiss

        return cls(faiss.deserialize_index(np.frombuffer(data, np.uint8)), subspace, errors)

    def to_bytes(self) -> bytes:
        """Return the codes as FAISS writes them; the subspace and the errors are not among them."""
        import faiss

        return faiss.serialize_index(self._index).tobytes()

    def search(self, query: CodedQuery, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and scores of the ``most`` best, best first."""
        scores, rows = self._index.search(query.inside[None], most)
        return rows[0], scores[0]

    @staticmethod
    def margin(some: Sequence[Codes], query: CodedQuery) -> float:
        """Return by how much a score of any of ``some``, all in the query's subspace, may be too low.

        The codes' error by Cauchy and Schwarz in each chunk and outside of the subspace, and that of FAISS's table,
        which is rounded to 8 bits an entry and 16 bits a sum.
        """
        errors = np.max([one.errors for one in some], axis=0)
        extent = np.max([one._extent for one in some], axis=0)
        spans = np.abs(query.inside) * extent
        step = max(spans.max(initial=0) / 255, spans.sum() / 65535)
        return float(query.norms @ errors + step * len(spans))

    @property
    def nbytes(self) -> int:
        """Bytes in memory, without the subspace, which many share."""
        return self._index.codes.size() + 4 * self._index.pq.centroids.size()
