"""Vectors that are coded together and lie in one file, mapped into memory; the only file that imports faiss."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.errors import LibraryError
from vtr_demo.files import draft_of, replace_file
from vtr_demo.vectors.base import MEMBER_BITS

Read = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Gets the ids (N,) and vectors (N, F) of a group from where they come from; raises ``LibraryError``."""
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
    """4-bit codes of vectors in the subspace that holds most of them: each number is one of 16 evenly spaced values.

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


class Segment:
    """Vectors (n, F) in memory or mapped from a file, sorted by id, with the tags of their content, and their codes.

    Its files never change: the vectors, the codes, the subspace, and a table that names the others by digest and is
    named by its own, written last.
    """

    def __init__(self, ids: np.ndarray, vectors: np.ndarray, tags: np.ndarray, live: np.ndarray | None = None) -> None:
        self.ids, self.vectors, self.tags = ids, vectors, tags
        self.live = np.ones(len(ids), bool) if live is None else live
        self.codes: Codes | None = None
        self._crcs: np.ndarray | None = None
        self._checked = np.zeros(len(ids), bool)

    @classmethod
    def empty(cls, width: int) -> Segment:
        """Return one without vectors."""
        return cls(np.zeros(0, np.int64), np.zeros((0, width), np.float32), np.zeros(0, np.int64))

    def rows_of(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of ``ids`` are here and alive, and their rows."""
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        here = (self.ids[rows] == ids) & self.live[rows] if len(self.ids) else np.zeros(len(ids), bool)
        return here, rows[here]

    def clear(self, mask: np.ndarray, groups: np.ndarray) -> None:
        """Set ``mask`` (n,) to False at the vectors of ``groups``."""
        first, last = (np.searchsorted(self.ids, (groups + after) << MEMBER_BITS) for after in (0, 1))
        for start, end in zip(first[first < last], last[first < last], strict=True):
            mask[start:end] = False

    def check(self, rows: np.ndarray, read: Read | None) -> None:
        """Hold vectors against their digests when they are first used; one that has changed on disk is ``read`` from
        where it came from, and left out from then on where that fails."""
        if self._crcs is None or read is None:
            return
        for row in rows[~self._checked[rows]].tolist():
            if zlib.crc32(self.vectors[row].tobytes()) != self._crcs[row]:
                self._mend(row, read)
            self._checked[row] = True

    def _mend(self, row: int, read: Read) -> None:
        right = np.zeros((1, self.vectors.shape[1]), np.float32)
        try:
            ids, fresh = read(int(self.ids[row] >> MEMBER_BITS))
            right = fresh[ids == self.ids[row]]
        except LibraryError:
            self.live[row] = False
        if not self.vectors.flags.writeable:
            self.vectors = np.array(self.vectors)
        self.vectors[row] = right[0]

    @property
    def nbytes(self) -> int:
        """Bytes in memory beside the vectors and the subspace."""
        codes = self.codes.nbytes if self.codes else 0
        crcs = 0 if self._crcs is None else self._crcs.nbytes
        return self.ids.nbytes + self.live.nbytes + self._checked.nbytes + crcs + codes

    # ------------------------------------------------------------------ files
    def write(self, directory: Path) -> None:
        """Write vectors and codes, then the table that makes them count, and map the vectors."""
        assert self.codes is not None
        directory.mkdir(exist_ok=True)
        codes, subspace = self.codes.to_bytes(), self.codes.subspace
        basis = subspace.basis.tobytes()
        name = hashlib.sha256(basis).hexdigest()
        crcs = np.array([zlib.crc32(row.tobytes()) for row in self.vectors], np.uint32)
        digest = np.frombuffer(hashlib.sha256(codes).digest(), np.uint8)
        table = io.BytesIO()
        np.savez(
            table, ids=self.ids, tags=self.tags, crcs=crcs, residual=self.codes.errors, codes=digest,
            basis=np.array(name), usual=np.array(subspace.outside),
        )  # fmt: skip
        path = directory / f"{hashlib.sha256(table.getvalue()).hexdigest()}.npz"
        with draft_of(path.with_suffix(".vectors")) as draft, draft.open("wb") as stream:
            self.vectors.tofile(stream)
        replace_file(path.with_suffix(".codes"), codes)
        if not path.with_name(f"{name}.basis").exists():
            replace_file(path.with_name(f"{name}.basis"), basis)
        replace_file(path, table.getvalue())
        self.vectors, self._crcs = _map(path, *self.vectors.shape), crcs

    @classmethod
    def load(
        cls, path: Path, width: int, groups: np.ndarray, tags: np.ndarray, subspaces: dict[str, Subspace]
    ) -> Segment | None:
        """Map a segment's files; None where they are damaged or less than half of it belongs to ``groups`` (N,),
        ascending, with the content that ``tags`` (N,) name.

        ``subspaces``: those that were read before, by name; one that is new is added.
        """
        try:
            data = path.read_bytes()
            _check(path.stem, data)
            with np.load(io.BytesIO(data), allow_pickle=False) as table:
                ids, mine, crcs, errors = (table[name] for name in ("ids", "tags", "crcs", "residual"))
                digest, name, outside = table["codes"].tobytes(), str(table["basis"]), float(table["usual"])
            vectors = _map(path, len(ids), width)
            codes = path.with_suffix(".codes").read_bytes()
            _check(digest.hex(), codes)
            if name not in subspaces:
                basis = path.with_name(f"{name}.basis").read_bytes()
                _check(name, basis)
                subspaces[name] = Subspace(np.frombuffer(basis, np.float32).reshape(width, -1), outside)
        except (OSError, ValueError, KeyError):
            return None
        numbers = ids >> MEMBER_BITS
        live = contains(groups, numbers)
        live[live] = tags[np.searchsorted(groups, numbers[live])] == mine[live]
        if 2 * live.sum() < len(ids):
            return None
        segment = cls(ids, vectors, mine, live)
        segment.codes, segment._crcs = Codes.from_bytes(codes, subspaces[name], errors), crcs
        return segment


def contains(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return (n,) bool: which of ``wanted`` are among the sorted ``values``."""
    if not len(values):
        return np.zeros(len(wanted), bool)
    return values[np.minimum(np.searchsorted(values, wanted), len(values) - 1)] == wanted


def remove_files(path: Path) -> None:
    """Remove the files of the segment with the table ``path``, as far as they can be removed."""
    for ending in (".npz", ".codes", ".vectors"):
        with suppress(OSError):
            path.with_suffix(ending).unlink(missing_ok=True)


def _map(path: Path, count: int, width: int) -> np.ndarray:
    """Map a segment's vectors; raises ``ValueError`` where the file has another size."""
    path = path.with_suffix(".vectors")
    if path.stat().st_size != 4 * count * width:
        raise ValueError(f"{path} has changed")
    return np.memmap(path, np.float32, "r", shape=(count, width))


def _check(digest: str, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"what has the digest {digest} has changed")
