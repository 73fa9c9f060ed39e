"""Changes of a library that a kill cannot break: opened, settled, and committed whole.

Files are noted as pending, then written; then one transaction makes them count; then what nothing uses is removed.
The next opening settles what a kill has left between two of these steps.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from vtr_demo.errors import LibraryError
from vtr_demo.files import FolderLock, library_errors, write_synced
from vtr_demo.library import takeover
from vtr_demo.library.database import (
    DATABASE,
    MOST_SWEPT,
    SETTINGS,
    Database,
    DatabaseDamage,
    LibraryState,
    is_full,
    read_mirror,
    read_only,
    sqlite_errors,
    write_database,
    write_mirror,
)  # fmt: skip
from vtr_demo.library.reader import LibraryReader
from vtr_demo.library.records import DELETED, FeatureVersion, StoredClip, clip_from_json

KEPT = timedelta(hours=1)
"""How long a clip that was set aside can be restored (our decision)."""
SCRATCH = ".scratch"
"""Where files lie on their way into the library; emptied when it is opened."""
RESERVE, RESERVE_BYTES = ".reserve", 2**20
"""A file that is given up when the disk is full, so that clips can still be deleted."""


class LibraryTransactions(LibraryReader):
    """A library with the right to change it, which one process has at a time."""

    writable = True
    _lock: FolderLock | None = None
    _database: Database

    def __init__(self, directory: Path, wanted: FeatureVersion) -> None:
        """Use ``open``."""
        super().__init__(directory, wanted)
        self._mutex = threading.RLock()
        self._writing: Counter[str] = Counter()
        self._changes: dict[int, StoredClip | None] = {}

    @classmethod
    def open(cls, directory: Path | str, wanted: FeatureVersion, *, allow_stale: bool = False) -> Self:
        """Open or make the library in ``directory``; what a kill has left is settled.

        The library of another model is refused with advice; ``allow_stale`` opens it for a
        rebuild: reading and ``delete`` work, then ``replace`` or ``replace_vectors``, and ``switch``.
        """
        folder = Path(directory)
        failed = f"The library {folder} was not opened"
        with library_errors(failed), sqlite_errors(failed):
            folder.mkdir(parents=True, exist_ok=True)
            writer = cls(folder, wanted)
            writer._lock = FolderLock(folder)
            try:
                try:
                    writer._start(allow_stale)
                except (OSError, sqlite3.Error) as error:
                    if not (is_full(error) and (folder / RESERVE).exists()):
                        raise
                    (folder / RESERVE).unlink()
                    writer._start(allow_stale)
            except BaseException:
                writer.close()
                raise
        return writer

    def close(self) -> None:
        """Let another process write. Reading goes on working."""
        with self._mutex:
            if hasattr(self, "_database"):
                self.catalogue.reopen = partial(read_only, self.directory)
                self._database.close()
                del self._database
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a folder for files on their way, on the library's own disk; a kill leaves it to the next opening."""
        with library_errors("Nothing was stored"):
            (self.directory / SCRATCH).mkdir(exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.directory / SCRATCH))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def take_changes(self) -> dict[int, StoredClip | None]:
        """Return what was added, replaced (by number) or deleted (None) since this was asked last."""
        with self._mutex:
            changes, self._changes = self._changes, {}
        return changes

    # ------------------------------------------------------------------ inside: opening
    def _start(self, allow_stale: bool) -> None:
        """Open the database, or write it again; then settle what a kill has left."""
        shutil.rmtree(self.directory / SCRATCH, ignore_errors=True)
        state = None
        if not (self.directory / DATABASE).exists():
            if takeover.is_old(self.directory):
                state = takeover.take_over(self.directory, self.wanted)
            elif (self.directory / "records").is_dir():
                state = self._write_again("it is missing")
        try:
            self._database = Database(self.directory)
        except DatabaseDamage as error:
            state = self._write_again(error)
            self._database = Database(self.directory)
        catalogue = self.catalogue = self._database.catalogue
        written, catalogue.problem = catalogue.version, state.problem if state else ""
        self._use(catalogue, allow_stale)
        self._last_number = catalogue.last_number()
        self._settle(written)
        takeover.retire(self.directory)
        with suppress(OSError):  # a full disk can be opened
            settings, version, damaged = read_mirror(self.directory)
            if damaged:
                self._problems["settings"] = f"{self.directory / SETTINGS} was damaged; it has been written again."
            if (settings, version) != (catalogue.settings, catalogue.version):
                write_mirror(self.directory, catalogue)
            if not (self.directory / RESERVE).exists():
                write_synced(self.directory / RESERVE, bytes(RESERVE_BYTES))

    def _write_again(self, damage: object) -> LibraryState:
        state = self._recovered(damage)
        write_database(self.directory, state)
        return state

    def _settle(self, written: FeatureVersion) -> None:
        """Bring files and database together after a kill; ``written`` is the version that the database has.

        In a large library only what was noted before the kill; ``check`` looks at all the others.
        """
        catalogue, pending = self.catalogue, dict(self.catalogue.pending)
        mine = (self.wanted.fingerprint, self.version.fingerprint, DELETED)
        others = [version for version in catalogue.versions() if version not in mine]
        dropped = [(version, clip_id) for version in others for clip_id in catalogue.ids(version)]
        keeps = written.fingerprint == self.version.fingerprint == self.wanted.fingerprint
        dropped += [(DELETED, one) for one in (self._expired() if keeps else catalogue.ids(DELETED))]
        small = catalogue.totals().clips <= MOST_SWEPT
        there = set(self._files.listed() if small else self._existing(pending))
        adopted, unknown = self._adopted(there, pending)
        for name in unknown:
            if name in pending:
                self._files.remove(name)
            else:
                self._files.move_to_lost(name)
        if adopted or dropped or pending or written != self.version:
            self._commit(adopted, dropped, version=self.version, settled=list(pending))
        for clip in self.clips() if small else ():
            missing = [role for role, file in clip.files.items() if file.name not in there]
            if missing:
                self._broken(clip, missing[0])
            elif clip.record_name not in there:
                self._files.write(clip.record_name, clip.json.encode())

    def _existing(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if (self.directory / name).exists()]

    def _next_number(self) -> int:
        """Return a number that no clip has had since the library was opened."""
        with self._mutex:
            self._last_number += 1
            return self._last_number

    def _adopted(self, there: set[str], pending: dict[str, str]) -> tuple[list[StoredClip], list[str]]:
        """Clips that are whole although the database does not know them, and the other unknown files."""
        unknown = sorted(name for name in there if not self.catalogue.is_used(name))
        adopted: list[StoredClip] = []
        taken: set[str] = set()
        numbers: set[int] = set()
        for name in unknown:
            if not name.startswith("records/") or pending.get(name) == "remove":
                continue
            with suppress(OSError, ValueError, KeyError, TypeError):
                data = (self.directory / name).read_bytes()
                clip = clip_from_json(data)
                whole = clip.record_name == name and all(map(self._files.intact, clip.files.values()))
                if whole and clip.version == self.version.fingerprint and clip.id not in self:
                    taken.update(clip.file_names())
                    if clip.number in numbers or self.catalogue.by_number([clip.number]):
                        clip = replace(clip, number=self._next_number())  # its own is another's by now
                    numbers.add(clip.number)
                    self._last_number = max(self._last_number, clip.number)
                    adopted.append(clip)
        return adopted, [name for name in unknown if name not in taken]

    # ------------------------------------------------------------------ inside: changing
    @contextmanager
    def _changing(self, failed: str, *, held: bool = True) -> Iterator[None]:
        """A change to a library that is open for writing; ``held`` keeps other changes out."""
        with library_errors(failed), sqlite_errors(failed):
            if self._lock is None:
                raise LibraryError(f"The library {self.directory} is closed; open it again to change it.")
            if not held:
                yield
                return
            with self._mutex:
                yield

    def _require_stale(self, wanted: bool) -> None:
        if self.stale != wanted:
            advice = "finish its rebuild first" if self.stale else "it needs no rebuild"
            raise LibraryError(f"The library {self.directory} was made by {self.version.model}; {advice}.")

    def _expired(self) -> list[str]:
        limit = (datetime.now(UTC) - KEPT).isoformat(timespec="seconds")
        return [clip.id for clip in self.catalogue.of(DELETED) if clip.deleted < limit]

    @contextmanager
    def _in_flight(self, names: list[str]) -> Iterator[None]:
        """Files that are being written: noted before, and removed again where the clip is not stored."""
        with self._mutex:
            new = [name for name in names if not self.catalogue.is_used(name)]
            with self._database.transaction() as transaction:
                transaction.put_pending("add", new)
            self._writing.update(names)
        try:
            yield
        finally:
            with self._mutex:
                self._writing.subtract(names)
                self._remove([n for n in names if self._writing[n] <= 0 and not self.catalogue.is_used(n)])

    def _commit(
        self,
        new: Sequence[StoredClip] = (),
        gone: Sequence[tuple[str, str]] = (),
        *,
        settings: dict[str, Any] | None = None,
        version: FeatureVersion | None = None,
        settled: Sequence[str] = (),
    ) -> None:
        """Make changes true on disk, then here, then remove the files that nothing uses any more.

        gone: version and id of clips that are no longer there; settled: files that need no note any longer.
        """
        catalogue, old_version, old_settings = self.catalogue, self.version, self.catalogue.settings
        set_version, version = version is not None, version or old_version
        settings = old_settings if settings is None else settings
        keys = [*gone, *((clip.version, clip.id) for clip in new)]
        replaced = [old for key, clip_id in keys if (old := catalogue.get(clip_id, key)) is not None]
        with self._freeing(), self._database.transaction() as transaction:
            transaction.put_version(version)
            for key in gone:
                transaction.put("clips", key, None)
            for clip in new:
                ours = clip.version == self.wanted.fingerprint
                transaction.put_version(self.wanted if ours else FeatureVersion(clip.version))
                transaction.put("clips", (clip.version, clip.id), clip.json)
            for name, value in settings.items():
                if old_settings.get(name) != value:
                    transaction.put_setting(name, value)
            if set_version:
                transaction.put_setting("version", version.fingerprint)
            transaction.drop_pending(settled)
            before = dict.fromkeys(name for clip in replaced for name in clip.file_names())
            unused = [name for name in before if not catalogue.is_used(name)]
            transaction.put_pending("remove", unused)
        catalogue.note(replaced, new)
        lost = {clip.id for clip in replaced if clip.version == old_version.fingerprint}
        lost -= {clip.id for clip in new if clip.version == version.fingerprint}
        self._problems = {key: text for key, text in self._problems.items() if key not in lost}
        self._changes |= {clip.number: None for clip in replaced if clip.version == version.fingerprint}
        self._changes |= {clip.number: clip for clip in new if clip.version == version.fingerprint}
        catalogue.settings, catalogue.version = settings, version
        if (settings, version) != (old_settings, old_version):
            with suppress(OSError):  # it is written again at the next opening
                write_mirror(self.directory, catalogue)
        self._remove([name for name in unused if self._writing[name] <= 0])

    @contextmanager
    def _freeing(self) -> Iterator[None]:
        """Give up the reserve before a change on a full disk, and take it again when there is room."""
        reserve = self.directory / RESERVE
        try:
            with suppress(OSError):
                if reserve.exists() and _free_bytes(self.directory) < RESERVE_BYTES:
                    reserve.unlink()
            yield
        finally:
            with suppress(OSError):
                if not reserve.exists() and _free_bytes(self.directory) > 4 * RESERVE_BYTES:
                    write_synced(reserve, bytes(RESERVE_BYTES))

    def _remove(self, names: Sequence[str]) -> None:
        """Remove files that nothing uses; where that fails the next opening goes on."""
        if not names:
            return
        for name in sorted(names, key=lambda one: not one.startswith("records/")):
            self._files.remove(name)
        left = {*self._existing(names)}
        with suppress(sqlite3.Error), self._database.transaction() as transaction:
            transaction.drop_pending([name for name in names if name not in left])


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
