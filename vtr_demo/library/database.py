"""library.db: the catalogue in one SQLite file, with a tally that shows every bit that has changed.

WAL, full synchronisation, foreign keys; one writer, many readers. Each clip's row also lies in a small
file beside its tokens, and the settings in ``settings.json``: a database that is lost or damaged is
written again from them.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vtr_demo.errors import LibraryError
from vtr_demo.files import json_bytes, replace_file
from vtr_demo.library.catalogue import DERIVED, Catalogue, Derived, is_whole
from vtr_demo.library.catalogue import fill as fill_derived
from vtr_demo.library.content import ContentFiles
from vtr_demo.library.records import (
    CLIP_ID,
    DELETED,
    FILE_NAME,
    FORMAT,
    FeatureVersion,
    StoredClip,
    clip_from_json,
    digest_of,
)  # fmt: skip

DATABASE, SETTINGS = "library.db", "settings.json"
MOST_SWEPT = 20_000
"""Clips up to which every index and every file is looked at when a library is opened."""
_BESIDE = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")

_SCHEMA = """
CREATE TABLE versions (fingerprint TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE clips (
    version TEXT NOT NULL REFERENCES versions (fingerprint),
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (version, id)
) WITHOUT ROWID;
CREATE TABLE settings (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pending (
    file TEXT PRIMARY KEY,
    task TEXT NOT NULL CHECK (task IN ('add', 'remove'))
) WITHOUT ROWID;
CREATE TABLE tally (value TEXT NOT NULL);
INSERT INTO tally VALUES ('00');
"""
_SCHEMA += DERIVED
_KEYS = {"versions": ("fingerprint",), "clips": ("version", "id"), "settings": ("name",)}
"""The tables that the tally covers, with their keys; each has a body."""


class DatabaseDamage(Exception):
    """library.db is not what was written; it can be written again from the clips' own records."""


@dataclass(frozen=True)
class LibraryState:
    """What a whole library.db is written from.

    clips: beside those of the version that counts the finished part of a rebuild, and what can be restored.
    """

    version: FeatureVersion
    clips: Sequence[StoredClip] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    """A sentence where the library was not found as it was written."""


class Transaction:
    """Rows to write in one transaction, with the tally that belongs to them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tally = int(connection.execute("SELECT value FROM tally").fetchone()[0], 16)
        self._derived = Derived(connection)

    def put(self, table: str, key: tuple[str, ...], body: str | None) -> None:
        """Set the body of a row; None deletes it."""
        names = _KEYS[table]
        where = " AND ".join(f"{name} = ?" for name in names)
        old = self._connection.execute(f"SELECT body FROM {table} WHERE {where}", key).fetchone()
        if table == "clips":
            if old is not None:
                self._derived.put(clip_from_json(old[0]), -1)
            if body is not None:
                self._derived.put(clip_from_json(body), 1)
        if old is not None:
            self._tally ^= _row_digest(table, key, old[0])
            self._connection.execute(f"DELETE FROM {table} WHERE {where}", key)
        if body is not None:
            self._tally ^= _row_digest(table, key, body)
            marks = ", ".join("?" * (len(names) + 1))
            columns = ", ".join((*names, "body"))
            self._connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", (*key, body))

    def put_version(self, version: FeatureVersion) -> None:
        """Make a version known; one that is known already stays."""
        key = (version.fingerprint,)
        if not self._connection.execute("SELECT 1 FROM versions WHERE fingerprint = ?", key).fetchone():
            self.put("versions", key, json.dumps(asdict(version)))

    def put_setting(self, name: str, value: Any) -> None:
        """Set a JSON-ready setting."""
        self.put("settings", (name,), json.dumps(value, sort_keys=True))

    def put_pending(self, task: str, files: Sequence[str]) -> None:
        """Note files that are about to be added, or to be removed once this has been committed."""
        rows = [(file, task) for file in files]
        self._connection.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?)", rows)

    def drop_pending(self, files: Sequence[str]) -> None:
        """Forget what was noted of these files."""
        self._connection.executemany("DELETE FROM pending WHERE file = ?", [(file,) for file in files])

    def close(self) -> None:
        """Write the tallies."""
        self._connection.execute("UPDATE tally SET value = ?", (f"{self._tally:064x}",))
        self._derived.close()


class Database:
    """library.db, open for writing."""

    def __init__(self, directory: Path) -> None:
        """Open the file, create it where there is none, and check everything; raises ``DatabaseDamage``."""
        path, self._lock = directory / DATABASE, threading.RLock()
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "it may not be written")
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            with _damage_named():
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                if not self._connection.execute("SELECT name FROM sqlite_master").fetchone():
                    self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
                with _committed(self._connection):  # raises where a header says that it is read-only
                    self.catalogue = _checked(self._connection)
                    if not is_whole(self._connection):
                        fill_derived(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self.catalogue.lock = self._lock

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Write rows together: after the block they survive a crash, and before its end none is there."""
        with self._lock:
            with _committed(self._connection):
                transaction = Transaction(self._connection)
                yield transaction
                transaction.close()
            # Nothing stays in the log, in which a flipped bit would undo what was committed after it.
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def read_catalogue(directory: Path) -> Catalogue:
    """Open library.db for reading, without writing anything; raises ``DatabaseDamage``."""
    log = directory / f"{DATABASE}-wal"
    # Where nothing can be written (a full disk, no right) SQLite reads only by "immutable".
    quiet = not log.exists() or log.stat().st_size == 0
    for options in ("mode=ro", "mode=ro&immutable=1") if quiet else ("mode=ro",):
        connection = None
        try:
            with _damage_named():
                connection = read_only(directory, options)
                connection.execute("BEGIN")  # what is checked is what is read
                catalogue = _checked(connection)
                whole = is_whole(connection)
                connection.execute("COMMIT")
                if not whole:  # of an earlier release, or damaged: made anew in memory
                    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
                    connection.backup(copy)
                    connection.close()
                    fill_derived(copy)
                    catalogue.connection = copy
                return catalogue
        except BaseException as error:
            if connection is not None:
                connection.close()
            if not isinstance(error, sqlite3.OperationalError):
                raise
            failure = error
    raise failure


def read_only(directory: Path, options: str = "mode=ro") -> sqlite3.Connection:
    """Open library.db without the right to write."""
    uri = f"{(directory / DATABASE).absolute().as_uri()}?{options}"
    return sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False)


def in_memory(state: LibraryState) -> Catalogue:
    """Return a state as a catalogue that lies nowhere."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(_SCHEMA)
    with _committed(connection):
        transaction = Transaction(connection)
        transaction.put_version(state.version)
        for clip in state.clips:
            transaction.put_version(FeatureVersion(clip.version, clip.tower))
            transaction.put("clips", (clip.version, clip.id), clip.json)
        for name, value in {**state.settings, "version": state.version.fingerprint}.items():
            transaction.put_setting(name, value)
        transaction.close()
    return Catalogue(connection, state.version, state.settings, problem=state.problem)


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged, not that the disk is full or the file in use."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    damage = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY}
    return code in damage or not isinstance(error, sqlite3.OperationalError)


def state_from_records(directory: Path, wanted: FeatureVersion) -> LibraryState | None:
    """Build the state again from the clips' records and ``settings.json``; None where there is neither."""
    newest: dict[tuple[str, str], tuple[float, StoredClip]] = {}
    for path in sorted((directory / "records").glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            data, changed = path.read_bytes(), path.stat().st_mtime
            clip = clip_from_json(data)
            if digest_of(data) != path.stem or not CLIP_ID.fullmatch(clip.id):
                continue
            key = (clip.version, clip.id)
            if key not in newest or newest[key][0] < changed:
                newest[key] = (changed, clip)
    settings, version, problem = read_mirror(directory)
    if not newest and version is None:
        return None
    by_version: dict[str, list[StoredClip]] = {}
    for _, clip in sorted(newest.values(), key=lambda pair: (pair[1].number, pair[1].added)):
        others = by_version.setdefault(clip.version, [])
        last = others[-1].number if others else 0
        others.append(replace(clip, number=max(clip.number, last + 1)))
    if version is None:
        prints = sorted(set(by_version) - {DELETED}, key=lambda one: (one == wanted.fingerprint, len(by_version[one])))
        version = wanted if prints[-1:] in ([], [wanted.fingerprint]) else FeatureVersion(prints[-1])
    return LibraryState(version, [*itertools.chain(*by_version.values())], settings, problem)


def write_database(directory: Path, state: LibraryState) -> None:
    """Write a whole library.db in one step; one that is there goes to the lost files."""
    for name in reversed(_BESIDE):  # a log without its database is harmless, but not the reverse
        if (directory / name).exists():
            ContentFiles(directory).move_to_lost(name)
    catalogue = in_memory(state)  # closes its connection when it goes
    replace_file(directory / DATABASE, catalogue.connection.serialize())


def write_mirror(directory: Path, state: LibraryState | Catalogue) -> None:
    """Keep the settings in ``settings.json`` as well, from which a lost database gets them back."""
    values = {"format": FORMAT, "version": asdict(state.version), "settings": state.settings}
    replace_file(directory / SETTINGS, json_bytes({**values, "digest": _mirror_digest(values)}))


def read_mirror(directory: Path) -> tuple[dict[str, Any], FeatureVersion | None, str]:
    """Return what ``settings.json`` holds, or nothing and a sentence where it is damaged."""
    lost = f"{directory / SETTINGS} was damaged as well: the names given to concepts are lost; give them again."
    try:
        values = json.loads((directory / SETTINGS).read_bytes())
        digest = values.pop("digest")
        if digest != _mirror_digest(values) or values["format"] != FORMAT:
            return {}, None, lost
        return dict(values["settings"]), FeatureVersion(**values["version"]), ""
    except FileNotFoundError:
        return {}, None, ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, None, lost


def _mirror_digest(values: dict[str, Any]) -> str:
    return digest_of(json.dumps(values, sort_keys=True).encode())


def _row_digest(table: str, key: tuple[str, ...], body: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join((table, *key, body)).encode()).digest(), "big")


def _checked(connection: sqlite3.Connection) -> Catalogue:
    """Hold all rows against the tally; raises ``DatabaseDamage`` where that is not theirs."""
    # Every index against its table, unless that takes too long: then the tallies and the pages alone.
    clips = connection.execute("SELECT count(*) FROM clips").fetchone()[0]
    check = "integrity_check(1)" if clips <= MOST_SWEPT else "quick_check(1)"
    if connection.execute(f"PRAGMA {check}").fetchone() != ("ok",):
        raise DatabaseDamage("its pages are not whole")
    tally = 0
    rows: dict[str, dict[str, str]] = {"settings": {}, "versions": {}}
    for table, names in _KEYS.items():
        for *key, body in connection.execute(f"SELECT {', '.join(names)}, body FROM {table}"):
            tally ^= _row_digest(table, tuple(map(str, key)), body)
            if table in rows:
                rows[table][str(key[0])] = body
    if tally != int(connection.execute("SELECT value FROM tally").fetchone()[0], 16):
        raise DatabaseDamage("the rows are not those that were written")
    settings = {name: json.loads(body) for name, body in rows["settings"].items()}
    versions = {key: FeatureVersion(**json.loads(body)) for key, body in rows["versions"].items()}
    current = settings.pop("version", "")
    pending = connection.execute("SELECT file, task FROM pending").fetchall()
    return Catalogue(
        connection,
        versions.get(current, FeatureVersion(current)),
        settings,
        {file: task for file, task in pending if isinstance(file, str) and FILE_NAME.fullmatch(file)},
    )


@contextmanager
def _damage_named() -> Iterator[None]:
    """Raise what a damaged file causes as ``DatabaseDamage``, and other errors as they are."""
    try:
        yield
    except sqlite3.Error as error:
        if _is_damage(error):
            raise DatabaseDamage(str(error)) from error
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatabaseDamage(repr(error)) from error


@contextmanager
def sqlite_errors(failed: str) -> Iterator[None]:
    """Raise an error of SQLite as a ``LibraryError`` that begins with ``failed``."""
    try:
        yield
    except sqlite3.Error as error:
        raise LibraryError(
            f"{failed} ({error}); check the free space and the rights of the folder, then open it again."
        ) from error


def is_full(error: Exception) -> bool:
    """Whether an error says that nothing more can be written."""
    text = str(error).lower()
    return "full" in text or "no space" in text or "disk i/o" in text or "unable to open" in text
