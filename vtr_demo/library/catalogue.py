"""What library.db knows of the clips, asked in parts: nothing here holds a library's clips in memory.

Two tables are derived from the clips' rows: ``catalogue``, by which they are sorted and filtered, and ``uses``,
which says whether a file is anyone's. They have a tally of their own, and where it does not fit they are filled
again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from vtr_demo.library.records import REQUIRED, FeatureVersion, StoredClip, clip_from_json
from vtr_demo.results import ClipFilter, Order

DERIVED = """
CREATE TABLE IF NOT EXISTS catalogue (
    version TEXT NOT NULL, number INTEGER NOT NULL, id TEXT NOT NULL,
    name BLOB NOT NULL, folder BLOB NOT NULL, seconds REAL NOT NULL, added TEXT NOT NULL, visitor TEXT NOT NULL,
    moments INTEGER NOT NULL, bytes INTEGER NOT NULL, content INTEGER, missing TEXT NOT NULL, captions INTEGER NOT NULL,
    source INTEGER NOT NULL, copied INTEGER NOT NULL,
    PRIMARY KEY (version, number, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS catalogue_name ON catalogue (version, name, number);
CREATE INDEX IF NOT EXISTS catalogue_seconds ON catalogue (version, seconds, number);
CREATE INDEX IF NOT EXISTS catalogue_bytes ON catalogue (version, bytes, number);
CREATE INDEX IF NOT EXISTS catalogue_source ON catalogue (version, source);
CREATE INDEX IF NOT EXISTS catalogue_visitor ON catalogue (version, number) WHERE visitor <> '';
CREATE INDEX IF NOT EXISTS catalogue_captioned ON catalogue (version, number) WHERE captions > 0;
CREATE INDEX IF NOT EXISTS catalogue_missing ON catalogue (version, number) WHERE missing <> '';
CREATE TABLE IF NOT EXISTS uses (file INTEGER NOT NULL, owner INTEGER NOT NULL, PRIMARY KEY (file, owner))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS derived (value TEXT NOT NULL);
"""
_COLUMNS = (
    "version, number, id, name, folder, seconds, added, visitor, moments, bytes, content, missing, captions, source, "
    "copied"
)
_ORDERS: dict[str, str] = {
    "oldest": "number",
    "newest": "number DESC",
    "name": "name, number",
    "shortest": "seconds, number",
    "longest": "seconds DESC, number",
    "largest": "bytes DESC, number",
}
EVERY = ClipFilter()


def _row(clip: StoredClip) -> tuple[Any, ...]:
    missing = next((role for role in REQUIRED if role not in clip.files), "")
    return (
        clip.version, clip.number, clip.id, _text(clip.name), _text(str(PurePath(clip.source).parent)),
        float(clip.duration_s), clip.added, clip.visitor, len(clip.moments), clip.stored_bytes,
        clip.content if "vectors" in clip.files else None, missing, len(clip.captions),
        _number(clip.source), int("media" in clip.files),
    )  # fmt: skip


def _text(text: str) -> bytes:
    """As bytes that sort as the letters do; names of files may hold what UTF-8 cannot."""
    return text.lower().encode("utf-8", "surrogatepass")


def _number(text: str) -> int:
    """A number of 63 bits for a name; two that are alike keep a file too long, never too short."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def _hash(row: Sequence[Any]) -> int:
    return int.from_bytes(hashlib.sha256(repr(tuple(row)).encode("utf-8", "replace")).digest()[:16], "big")


class Derived:
    """The derived tables in one transaction, with their tally."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        row = connection.execute("SELECT value FROM derived").fetchone()
        values: list[int] = json.loads(row[0]) if row else [0] * 5
        self._rows, self._count, self._high, self._low, self._owners = values

    def put(self, clip: StoredClip, sign: int) -> None:
        """Add a clip (``sign`` 1), or take one away (-1) that was added so."""
        row = _row(clip)
        self._rows ^= _hash(row)
        owner = _number(f"{clip.version} {clip.id}")
        pairs = [(_number(name), owner) for name in set(clip.file_names())]
        self._count += sign * len(pairs)
        self._high += sign * sum(file >> 31 for file, _ in pairs)
        self._low += sign * sum(file & 0x7FFFFFFF for file, _ in pairs)
        self._owners += sign * len(pairs) * (owner & 0xFFFFFFFF)
        if sign > 0:
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT OR REPLACE INTO catalogue ({_COLUMNS}) VALUES ({marks})", row)
            self._connection.executemany("INSERT OR IGNORE INTO uses VALUES (?, ?)", pairs)
        else:
            key = (clip.version, clip.number, clip.id)
            self._connection.execute("DELETE FROM catalogue WHERE version = ? AND number = ? AND id = ?", key)
            self._connection.executemany("DELETE FROM uses WHERE file = ? AND owner = ?", pairs)

    def close(self) -> None:
        """Write the tally."""
        value = json.dumps([self._rows, self._count, self._high, self._low, self._owners])
        self._connection.execute("DELETE FROM derived")
        self._connection.execute("INSERT INTO derived VALUES (?)", (value,))


def is_whole(connection: sqlite3.Connection) -> bool:
    """Whether the derived tables are there as they were written."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"catalogue", "uses", "derived"} <= names:
        return False
    if not {*_COLUMNS.split(", ")} <= {row[1] for row in connection.execute("PRAGMA table_info(catalogue)")}:
        return False  # of an earlier version
    row = connection.execute("SELECT value FROM derived").fetchone()
    rows, count = 0, 0
    for values in connection.execute(f"SELECT {_COLUMNS} FROM catalogue"):
        rows ^= _hash(values)
        count += 1
    sums = connection.execute(
        "SELECT count(*), total(file >> 31), total(file & 2147483647), total(owner & 4294967295) FROM uses"
    ).fetchone()
    clips = connection.execute("SELECT count(*) FROM clips").fetchone()[0]
    try:
        expected = json.loads(row[0]) if row else []
    except ValueError:
        return False
    # sums of doubles are exact up to 2^53: four million files; beyond, to the last digits
    close = [*map(float, expected[1:])] == [*map(float, sums)] if sums[0] < 2**21 else expected[1:2] == [sums[0]]
    return expected[:1] == [rows] and count == clips and close


def fill(connection: sqlite3.Connection) -> None:
    """Make the derived tables anew from the clips' rows, inside a transaction."""
    for table in ("catalogue", "uses", "derived"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in DERIVED.split(";"):
        connection.execute(statement)
    derived = Derived(connection)
    for (body,) in connection.execute("SELECT body FROM clips"):
        derived.put(clip_from_json(body), 1)
    derived.close()


@dataclass
class Totals:
    """Clips, moments and bytes of one version."""

    clips: int = 0
    moments: int = 0
    bytes: int = 0


@dataclass
class Catalogue:
    """An open library.db, for reading. Safe to use from several threads.

    version: of the features that count; pending: files that were about to be added or removed.
    """

    connection: sqlite3.Connection
    version: FeatureVersion
    settings: dict[str, Any] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    """A sentence where the library was not found as it was written."""

    lock: AbstractContextManager[Any] = field(default_factory=threading.RLock)
    """Held by whoever uses the connection; a writer holds it for each transaction."""

    reopen: Callable[[], sqlite3.Connection] | None = None
    """Opens the file for one question, where the connection has been closed."""

    def __post_init__(self) -> None:
        self._totals: tuple[object, dict[str, Totals]] = (None, {})

    def __del__(self) -> None:
        self.connection.close()  # at once: a connection refers to itself

    # ------------------------------------------------------------------ one clip
    def get(self, clip_id: str, version: str | None = None) -> StoredClip | None:
        """Return a clip of a version, by default of the one that counts."""
        key = (self.version.fingerprint if version is None else version, clip_id)
        rows = self._rows("SELECT body FROM clips WHERE version = ? AND id = ?", key)
        return clip_from_json(rows[0][0]) if rows else None

    def is_used(self, name: str) -> bool:
        """Whether a file belongs to any clip of any version."""
        return bool(self._rows("SELECT 1 FROM uses WHERE file = ?", (_number(name),)))

    def noted(self) -> set[str]:
        """Return the names of the files that are being added or removed."""
        return {name for (name,) in self._rows("SELECT file FROM pending", ())}

    # ------------------------------------------------------------------ many
    def versions(self) -> list[str]:
        """Return the versions that have clips, the one that counts first."""
        mine = self.version.fingerprint
        return [mine, *(version for version in self._all_totals() if version != mine)]

    def totals(self, version: str | None = None) -> Totals:
        """Return how many clips, moments and bytes there are; asks the tables only after a change."""
        return self._all_totals().get(self.version.fingerprint if version is None else version, Totals())

    def sums(self, where: ClipFilter = EVERY) -> Totals:
        """Return how many clips, moments and bytes match; where only some visitors' clips do not, these are counted."""
        if where == EVERY:
            return self.totals()
        if where.hides_visitors_alone:
            every, hidden = self.totals(), self._sums(*self._others(where.visitors or ()))
            return Totals(every.clips - hidden.clips, every.moments - hidden.moments, every.bytes - hidden.bytes)
        return self._sums(*self._where(where))

    def hidden(self, where: ClipFilter) -> np.ndarray | None:
        """Return the numbers (N,) int64, ascending, of all that a filter leaves out, where it hides visitors' clips
        alone; else None."""
        if not where.hides_visitors_alone:
            return None
        condition, values = self._others(where.visitors or ())
        rows = self._rows(f"SELECT number FROM catalogue WHERE {condition} ORDER BY number", values)
        return np.array(rows, np.int64).reshape(-1)

    def spread(self, count: int, where: ClipFilter = EVERY) -> list[StoredClip]:
        """Return up to ``count`` clips with vectors that match, spread evenly over the numbers; costs as much as
        ``count``, unless few match."""
        if self.sums(where).clips <= count:
            return [clip for clip in self.page(where) if "vectors" in clip.files]
        condition, values = self._where(where)
        ends = "SELECT number FROM catalogue WHERE version = ? ORDER BY number"
        mine = (self.version.fingerprint,)
        first, last = (self._rows(f"{ends} {way} LIMIT 1", mine)[0][0] for way in ("", "DESC"))
        starts = np.linspace(first, last, count).astype(np.int64).tolist()
        following = (
            f"SELECT id FROM catalogue WHERE {condition} AND content IS NOT NULL AND number >= value "
            "ORDER BY number LIMIT 1"
        )
        ids = self._rows(f"SELECT ({following}) FROM json_each(?)", (*values, json.dumps(starts)))
        return self._clips([one for one in dict.fromkeys(one for (one,) in ids) if one is not None])

    def at(self, source: str) -> list[StoredClip]:
        """Return the clips that came from a path, in order of arrival."""
        ids = self._ids("version = ? AND source = ?", (self.version.fingerprint, _number(source)))
        return [clip for clip in self._clips(ids) if clip.source == source]

    def page(
        self, where: ClipFilter = EVERY, order: Order = "oldest", offset: int = 0, limit: int | None = None
    ) -> list[StoredClip]:
        """Return a part of the clips that match, in an order."""
        condition, values = self._where(where)
        part = (-1 if limit is None else limit, offset)
        return self._clips(self._ids(condition, (*values, *part), f"ORDER BY {_ORDERS[order]} LIMIT ? OFFSET ?"))

    def ids(self, version: str) -> list[str]:
        """Return the ids of all clips of a version, in order of arrival."""
        return self._ids("version = ?", (version,))

    def of(self, version: str) -> list[StoredClip]:
        """Return all clips of a version, in order of arrival."""
        return self._clips(self.ids(version), version)

    def incomplete(self) -> list[StoredClip]:
        """Return the clips that lack a file by their own record."""
        return self._clips(self._ids("version = ? AND missing <> ''", (self.version.fingerprint,)))

    def contents(self, where: ClipFilter = EVERY) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers (N,) int64, ascending, of the clips with vectors that match, and what these hold."""
        condition, values = self._where(where)
        rows = self._rows(
            f"SELECT number, content FROM catalogue WHERE {condition} AND content IS NOT NULL ORDER BY number", values
        )
        table = np.array(rows, np.int64).reshape(-1, 2)
        return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])

    def by_number(self, numbers: Sequence[int]) -> dict[int, StoredClip]:
        """Return clips by number; those that are not there are left out."""
        condition = "version = ? AND number IN (SELECT value FROM json_each(?))"
        ids = self._ids(condition, (self.version.fingerprint, json.dumps([*numbers])))
        return {clip.number: clip for clip in self._clips(ids)}

    def last_number(self) -> int:
        """Return the highest number of any clip."""
        highest = "SELECT max(number) FROM catalogue WHERE version = ?"  # which the key answers at once
        return max(self._rows(highest, (version,))[0][0] or 0 for version in self.versions())

    # ------------------------------------------------------------------ inside
    def _clips(self, ids: Sequence[str], version: str | None = None) -> list[StoredClip]:
        version = self.version.fingerprint if version is None else version
        query = "SELECT body FROM json_each(?) CROSS JOIN clips ON clips.id = value WHERE version = ? ORDER BY key"
        return [clip_from_json(body) for (body,) in self._rows(query, (json.dumps([*ids]), version))]

    def _ids(self, condition: str, values: Sequence[Any], order: str = "ORDER BY number") -> list[str]:
        return [one for (one,) in self._rows(f"SELECT id FROM catalogue WHERE {condition} {order}", values)]

    def _sums(self, condition: str, values: Sequence[Any]) -> Totals:
        query = f"SELECT count(*), ifnull(sum(moments), 0), ifnull(sum(bytes), 0) FROM catalogue WHERE {condition}"
        return Totals(*self._rows(query, values)[0])

    def _others(self, visitors: Sequence[str]) -> tuple[str, tuple[Any, ...]]:
        """What other visitors added."""
        condition = "version = ? AND visitor <> '' AND visitor NOT IN (SELECT value FROM json_each(?))"
        return condition, (self.version.fingerprint, json.dumps(sorted(visitors)))

    def _where(self, where: ClipFilter) -> tuple[str, tuple[Any, ...]]:
        conditions, values = ["version = ?"], [self.version.fingerprint]
        given: list[tuple[bool, str, Any]] = [
            (bool(where.name), "instr(name, ?) > 0", _text(where.name)),
            (bool(where.folder), "instr(folder, ?) > 0", _text(where.folder)),
            (where.shortest_s > 0, "seconds >= ?", where.shortest_s),
            (where.longest_s < float("inf"), "seconds <= ?", where.longest_s),
            (bool(where.added_from), "added >= ?", where.added_from),
            (bool(where.added_before), "added < ?", where.added_before),
            (where.own, "copied = ?", 1),
        ]
        for used_here, condition, value in given:
            if used_here:
                conditions.append(condition)
                values.append(value)
        if where.captioned is not None:
            conditions.append("captions > 0" if where.captioned else "captions = 0")
        if where.uploaded or "" not in (where.visitors or ("",)):
            conditions.append("visitor <> ''")  # lets SQLite use the index of these
        if where.visitors is not None:
            conditions.append("visitor IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(sorted(where.visitors)))
        return " AND ".join(conditions), tuple(values)

    def _all_totals(self) -> dict[str, Totals]:
        with self.lock:
            state = None if self.reopen else self._rows("PRAGMA data_version", ())
            if state is None or self._totals[0] != state:
                query = "SELECT version, count(*), sum(moments), sum(bytes) FROM catalogue GROUP BY version"
                self._totals = (state, {version: Totals(*sums) for version, *sums in self._rows(query, ())})
            return self._totals[1]

    def note(self, gone: Iterable[StoredClip], new: Iterable[StoredClip]) -> None:
        """Bring the totals up to date after a change of one's own."""
        with self.lock:
            totals = self._all_totals()
            for clips, sign in ((gone, -1), (new, 1)):
                for clip in clips:
                    one = totals.setdefault(clip.version, Totals())
                    one.clips += sign
                    one.moments += sign * len(clip.moments)
                    one.bytes += sign * clip.stored_bytes
                    if not one.clips:
                        del totals[clip.version]

    def _rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.lock:
            if self.reopen is None:
                return self.connection.execute(query, values).fetchall()
            with closing(self.reopen()) as connection:
                return connection.execute(query, values).fetchall()
