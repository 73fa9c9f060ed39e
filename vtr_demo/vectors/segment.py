"""Vectors that are coded together and lie in one file, mapped into memory."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from vtr_demo.errors import LibraryError
from vtr_demo.files import draft_of, replace_file
from vtr_demo.vectors.base import MEMBER_BITS
from vtr_demo.vectors.codes import Codes, Subspace

Read = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Gets the ids (N,) and vectors (N, F) of a group from where they come from; raises ``LibraryError``."""
_FEW = 32


class Segment:
    """Vectors (n, F) in memory or mapped from a file, sorted by id, and their codes.

    Its files never change: the vectors, the codes, the subspace, and a table that names the others by digest and is
    named by its own, written last.
    """

    def __init__(self, ids: np.ndarray, vectors: np.ndarray, live: np.ndarray | None = None) -> None:
        self.ids, self.vectors = ids, vectors
        self.live = np.ones(len(ids), bool) if live is None else live
        self.codes: Codes | None = None
        self.mapped = False
        self._crcs: np.ndarray | None = None
        self._checked = np.zeros(len(ids), bool)

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

    def check(self, rows: np.ndarray, read: Read | None) -> None:
        """Hold vectors against their digests when they are first used; one that has changed on disk is ``read`` from
        where it came from, and left out from then on where that fails."""
        if self._crcs is None or read is None:
            return
        for row in rows[~self._checked[rows]].tolist():
            if zlib.crc32(self.vectors[row].tobytes()) != self._crcs[row]:
                right = np.zeros((1, self.vectors.shape[1]), np.float32)
                try:
                    ids, fresh = read(int(self.ids[row] >> MEMBER_BITS))
                    right = fresh[ids == self.ids[row]]
                except LibraryError:
                    self.live[row] = False
                if not self.vectors.flags.writeable:
                    self.vectors = np.array(self.vectors)
                self.vectors[row] = right[0]
            self._checked[row] = True

    def nbytes(self, *, vectors: bool) -> int:
        """Return the bytes in memory, without the subspace; with ``vectors``, of those that are not mapped too."""
        codes = self.codes.nbytes if self.codes else 0
        crcs = 0 if self._crcs is None else self._crcs.nbytes
        own = self.vectors.nbytes if vectors and not self.mapped else 0
        return self.ids.nbytes + self.live.nbytes + self._checked.nbytes + crcs + codes + own

    # ------------------------------------------------------------------ files
    def write(self, directory: Path, tags: np.ndarray) -> None:
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
            table, ids=self.ids, tags=tags, crcs=crcs, residual=self.codes.errors, codes=digest, basis=np.array(name),
            usual=np.array(subspace.outside),
        )  # fmt: skip
        path = directory / f"{hashlib.sha256(table.getvalue()).hexdigest()}.npz"
        with draft_of(path.with_suffix(".vectors")) as draft, draft.open("wb") as stream:
            self.vectors.tofile(stream)
        replace_file(path.with_suffix(".codes"), codes)
        if not path.with_name(f"{name}.basis").exists():
            replace_file(path.with_name(f"{name}.basis"), basis)
        replace_file(path, table.getvalue())
        self.vectors = _map(path, *self.vectors.shape)
        self._crcs, self.mapped = crcs, True

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
            if hashlib.sha256(data).hexdigest() != path.stem:
                return None
            with np.load(io.BytesIO(data), allow_pickle=False) as table:
                ids, mine, crcs, errors = (table[name] for name in ("ids", "tags", "crcs", "residual"))
                digest, name, outside = table["codes"].tobytes(), str(table["basis"]), float(table["usual"])
            vectors = _map(path, len(ids), width)
            codes = path.with_suffix(".codes").read_bytes()
            if hashlib.sha256(codes).digest() != digest:
                return None
            if name not in subspaces:
                subspaces[name] = _read_subspace(path.with_name(f"{name}.basis"), width, outside)
        except (OSError, ValueError, KeyError):
            return None
        numbers = ids >> MEMBER_BITS
        places = np.minimum(np.searchsorted(groups, numbers), max(len(groups) - 1, 0))
        live = np.zeros(len(ids), bool)
        if len(groups):
            live = (groups[places] == numbers) & (tags[places] == mine)
        if 2 * live.sum() < len(ids):
            return None
        segment = cls(ids, vectors, live)
        segment.codes = Codes.from_bytes(codes, subspaces[name], errors)
        segment._crcs, segment.mapped = crcs, True
        return segment


def contains(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return (n,) bool: which of ``wanted`` are among the sorted ``values``."""
    if not len(values):
        return np.zeros(len(wanted), bool)
    return values[np.minimum(np.searchsorted(values, wanted), len(values) - 1)] == wanted


def remove_files(path: Path) -> None:
    """Remove the files of the segment with the table ``path``, as far as they can be removed."""
    for ending in (".npz", ".codes", ".vectors", ".npy"):  # the last of an earlier release
        with suppress(OSError):
            path.with_suffix(ending).unlink(missing_ok=True)


def _map(path: Path, count: int, width: int) -> np.ndarray:
    """Map a segment's vectors; raises ``ValueError`` where the file has another size."""
    path = path.with_suffix(".vectors")
    if path.stat().st_size != 4 * count * width:
        raise ValueError(f"{path} has changed")
    return np.memmap(path, np.float32, "r", shape=(count, width))


def _read_subspace(path: Path, width: int, outside: float) -> Subspace:
    """Read a subspace; raises ``ValueError`` where it is damaged."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != path.stem:
        raise ValueError(f"{path} has changed")
    return Subspace(np.frombuffer(data, np.float32).reshape(width, -1), outside)
