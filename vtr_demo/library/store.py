"""A library on disk: library.db says what is there, files named by their digests hold what is big.

A clip counts from the moment its row is committed until the row is deleted: files are written before the
one and removed after the other. What the store does not know it never deletes: it is taken up again where
a clip's record and all its files are whole, or else moved to ``lost``.
"""

from __future__ import annotations

import builtins
import re
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo import files
from vtr_demo.errors import LibraryError, unknown_clip
from vtr_demo.files import FolderLock, library_errors, sha256_of, write_synced
from vtr_demo.library import takeover
from vtr_demo.library.content import LOST
from vtr_demo.library.database import (
    DATABASE,
    MOST_SWEPT,
    Database,
    DatabaseDamage,
    check_mirror,
    is_damage,
    is_full,
    read_only,
    sqlite_errors,
    write_database,
    write_mirror,
)
from vtr_demo.library.reader import NOTICES, LibraryReader, require_library
from vtr_demo.library.records import (
    DELETED,
    KINDS,
    ClipContents,
    FeatureVersion,
    StoredClip,
    StoredFile,
    check_frames,
    check_vectors,
    clip_from_json,
    digest_of,
    file_name,
)

KEPT = timedelta(hours=1)
"""How long a clip that was set aside can be restored (our decision)."""
RESERVE, RESERVE_BYTES = ".reserve", 2**20
"""A file that is given up when the disk is full, so that clips can still be deleted."""


def now() -> str:
    """Return the time as an ISO string in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class LibraryWriter(LibraryReader):
    """A library with the right to change it, which one process has at a time."""

    _lock: FolderLock | None = None
    _database: Database

    def __init__(self, directory: Path, wanted: FeatureVersion) -> None:
        """Use ``LibraryWriter.open``."""
        super().__init__(directory, wanted)
        self._mutex = threading.RLock()
        self._writing: Counter[str] = Counter()
        self._changes: dict[int, StoredClip | None] = {}

    @classmethod
    def open(
        cls, directory: Path | str, wanted: FeatureVersion, *, create: bool = True, allow_stale: bool = False
    ) -> LibraryWriter:
        """Open or, with ``create``, make the library in ``directory``; what a kill has left is settled.

        The library of another model is refused with advice; ``allow_stale`` opens it for a
        rebuild: reading and ``delete`` work, then ``replace`` or ``replace_vectors``, and ``switch``.
        """
        folder = Path(directory)
        failed = f"The library {folder} was not opened"
        with library_errors(failed), sqlite_errors(failed):
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            else:
                require_library(folder)
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
                self._catalogue.reopen = partial(read_only, self.directory)
                self._database.close()
                del self._database
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> LibraryWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def writable(self) -> bool:
        """Whether this may change the library."""
        return True

    def take_changes(self) -> dict[int, StoredClip | None]:
        """Return what was added, replaced (by number) or deleted (None) since this was asked last."""
        with self._mutex:
            changes, self._changes = self._changes, {}
        return changes

    # ------------------------------------------------------------------ changes
    def exclusive(self) -> AbstractContextManager[Any]:
        """Return a context in which no other thread changes the library; hold it for moments only."""
        return self._mutex

    def set_setting(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small table of JSON-ready settings with the library."""
        if not re.fullmatch(r"[a-z_]{1,40}", name):
            raise ValueError(f"a setting is named by small letters, got {name!r}")
        with self._changing(f"The setting {name!r} was not kept"):
            settings = {**self._catalogue.settings, name: value}
            notices = {key: text for key, text in self._notices().items() if key != name}
            if NOTICES in settings:
                settings[NOTICES] = notices
            self._commit([], settings)

    def add(self, clip: StoredClip, contents: ClipContents) -> StoredClip:
        """Store a clip: it survives a crash once this returns, and until then nothing has changed.

        A clip of the same content is refused unless it is damaged. Returns the clip as stored.
        """
        with self._changing(f"{clip.name} was not stored", held=False):
            self._require_stale(False)
            if clip.id in self and clip.id not in self._problems:
                raise LibraryError(f"{clip.name} is already in the library; delete it to index it anew.")
            return self._put(replace(clip, added=clip.added or now()), _encoded(clip, contents))

    def replace(self, clip: StoredClip, contents: ClipContents) -> StoredClip:
        """Store everything anew for a clip of the library, in a rebuild or to repair it.

        The copy of an upload, the version for browsers and the poster stay where none is given.
        """
        with self._changing(f"{clip.name} was not rebuilt", held=False):
            encoded = _encoded(clip, contents)
            if contents.poster is None and self.intact(clip.id, "poster"):
                del encoded["poster"]
            return self._put(clip, encoded, kept=self.get(clip.id))

    def replace_vectors(self, clip_id: str, vectors: np.ndarray) -> StoredClip:
        """Store new vectors (1+M, F) for a clip whose frames and tokens are still right."""
        clip = self.get(clip_id)
        with self._changing(f"{clip.name} was not rebuilt", held=False):
            if clip.tower != self.wanted.tower:
                raise LibraryError(f"{clip.name}: its frames and tokens come from another tower; replace them.")
            check_vectors(clip, vectors)
            return self._put(clip, {"vectors": files.array_to_bytes(vectors)}, kept=clip)

    def pack(self, clip: StoredClip) -> None:
        """Store the tokens of a clip as they are packed today, where an earlier version did not; nothing is lost."""
        if not clip.files["tokens"].name.endswith(KINDS["tokens"][1]):
            with self._changing(f"{clip.name} was not packed", held=False):
                tokens = files.tokens_to_bytes(self.tokens(clip.id), packed=True)
                self._put(clip, {"tokens": tokens}, kept=self.get(clip.id), tower=clip.tower)

    def update(self, clip: StoredClip, copy: Path | None = None) -> StoredClip:
        """Store another name, place or captions of a clip, or a ``copy`` of its original; everything else stays."""
        with self._changing(f"{clip.name} was not changed", held=False):
            self._require_stale(False)
            return self._put(clip, {"media": copy} if copy else {}, kept=self.get(clip.id), tower=clip.tower)

    def update_all(self, clips: Sequence[StoredClip]) -> None:
        """Store other names, places or captions of many clips in one step; those deleted meanwhile stay so."""
        with self._changing(f"{len(clips)} clips were not changed"):
            self._require_stale(False)
            known = [(one, stored) for one in clips if (stored := self._catalogue.get(one.id)) is not None]
            self._rewrite([replace(one, files=stored.files) for one, stored in known])

    def set_aside(self, clip_ids: Sequence[str]) -> builtins.list[StoredClip]:
        """Delete clips in one step so that ``restore`` can bring them back within ``KEPT``; returns them.

        Those set aside longer ago are deleted for good. Ids that are not there are left out.
        """
        with self._changing(f"{len(clip_ids)} clips were not deleted"):
            self._require_stale(False)
            clips = [clip for one in dict.fromkeys(clip_ids) if (clip := self._catalogue.get(one)) is not None]
            expired = [(DELETED, clip_id, None) for clip_id in self._expired()]
            gone = [*expired, *((clip.version, clip.id, None) for clip in clips)]
            self._rewrite([replace(clip, version=DELETED, deleted=now()) for clip in clips], gone)
            return clips

    def restore(self, clip_ids: Sequence[str]) -> builtins.list[StoredClip]:
        """Bring back clips that were set aside, in one step; returns those that still could be."""
        with self._changing(f"{len(clip_ids)} clips were not restored"):
            self._require_stale(False)
            kept = [self._catalogue.get(one, DELETED) for one in dict.fromkeys(clip_ids) if one not in self]
            known = [clip for clip in kept if clip is not None]
            back = [replace(clip, version=self.version.fingerprint, deleted="") for clip in known]
            self._rewrite(back, [(DELETED, clip.id, None) for clip in known])
            return back

    def empty_deleted(self) -> None:
        """Delete for good what was set aside, and free its space."""
        with self._changing("What was deleted was not removed"):
            self._commit([(DELETED, clip_id, None) for clip_id in self._catalogue.ids(DELETED)])

    def forget_vectors(self) -> None:
        """Take the vectors from all clips in one step, before they are computed anew by the same model."""
        with self._changing("The library was not rebuilt"):
            clips = [_without(clip, "vectors") for clip in self.list()]
            self._commit([(clip.version, clip.id, clip) for clip in clips])
            self._note_missing()

    def delete(self, clip_id: str) -> None:
        """Forget a clip, readable or not, and remove its files; an original elsewhere stays."""
        with self._changing(f"Clip {clip_id[:40]!r} was not deleted"):
            notices = self._notices()
            known = [version for version in self._catalogue.versions() if self._catalogue.get(clip_id, version)]
            if clip_id not in notices and clip_id not in self:
                raise unknown_clip(clip_id)
            settings = self._catalogue.settings
            if clip_id in notices:
                settings = {**settings, NOTICES: {k: v for k, v in notices.items() if k != clip_id}}
            self._commit([(version, clip_id, None) for version in known], settings)

    def check(self) -> None:
        """Read every file of every clip, so that ``problems`` and ``damaged`` are complete.

        Files that no clip uses are taken up again where they make a clip, or else moved to ``lost``.
        """
        self._files.forget_checks()
        with self._changing("The library was not checked"):
            there = set(self._files.listed(clean=False)) - self._catalogue.noted()
            adopted, unknown = self._adopted(there, {})
            for name in unknown:
                self._files.move_to_lost(name)
            problems = {key: text for key, text in self._problems.items() if key != "stray"}
            if adopted or unknown:
                problems["stray"] = (
                    f"{self.directory} held files that no clip uses: {len(adopted)} clips were taken up again and "
                    f"{len(unknown)} files moved to {self.directory / LOST}."
                )
            self._problems = problems
            if adopted:
                self._commit(adopted)
        for clip in self.list():
            for role, file in (*clip.files.items(), ("record", StoredFile(clip.record_name, 0))):
                if not self._files.intact(file):
                    self._broken(clip, role)

    # ------------------------------------------------------------------ rebuilding
    def rebuilt(self, clip_id: str) -> bool:
        """Whether a rebuild, perhaps one that was interrupted, has already done this clip."""
        clip = self._catalogue.get(clip_id, self.wanted.fingerprint)
        return clip is not None and "vectors" in clip.files

    def carry_over(self, clip_id: str) -> None:
        """In a rebuild: keep a clip that cannot be rebuilt now, without vectors, so that it is not lost."""
        clip = _without(self.get(clip_id), "vectors")
        with self._changing(f"{clip.name} was not kept", held=False):
            self._put(clip, {}, kept=clip, tower=clip.tower)

    def switch(self) -> None:
        """End a rebuild: from now on the library is of our version, and the old features are removed.

        Clips that were neither rebuilt nor carried over are refused by name.
        """
        with self._changing("The rebuilt library was not put in place"):
            self._require_stale(True)
            done = set(self._catalogue.ids(self.wanted.fingerprint))
            if left := [clip.name for clip in self.list() if clip.id not in done]:
                raise LibraryError(
                    f"{len(left)} clips are not rebuilt yet ({', '.join(left[:5])}); rebuild or delete them."
                )
            gone = [
                (version, clip_id, None)
                for version in self._catalogue.versions()
                if version != self.wanted.fingerprint
                for clip_id in self._catalogue.ids(version)
            ]
            self._commit(gone, version=self.wanted)
            self._problems = {key: text for key, text in self._problems.items() if key == "library"}
            self._note_missing()

    # ------------------------------------------------------------------ inside: opening
    def _start(self, allow_stale: bool) -> None:
        """Open the database, or write it again; then settle what a kill has left."""
        problem = ""
        if not (self.directory / DATABASE).exists():
            if takeover.is_old(self.directory):
                problem = takeover.take_over(self.directory, self.wanted).problem
            elif (self.directory / "records").is_dir():
                problem = self._write_again(DatabaseDamage("it is missing"))
        try:
            self._connect()
            catalogue = self._database.load()
        except (DatabaseDamage, sqlite3.Error) as error:
            if isinstance(error, sqlite3.Error) and not is_damage(error):
                raise
            if hasattr(self, "_database"):
                self._database.close()
            problem = self._write_again(DatabaseDamage(str(error)))
            self._connect()
            catalogue = self._database.load()
        written, catalogue.problem = catalogue.version, problem
        self._use(catalogue, allow_stale)
        self._last_number = catalogue.last_number()
        self._settle(written)
        takeover.retire(self.directory)
        with suppress(OSError):  # a full disk can be opened
            current, damaged = check_mirror(self.directory, self._catalogue)
            if damaged:
                self._problems["settings"] = f"{damaged} was damaged; it has been written again."
            if not current:
                write_mirror(self.directory, self._catalogue)
            reserve = self.directory / RESERVE
            if not reserve.exists():
                write_synced(reserve, bytes(RESERVE_BYTES))

    def _connect(self) -> None:
        self._database = Database(self.directory)

    def _write_again(self, damage: DatabaseDamage) -> str:
        state = self._recovered(damage)
        write_database(self.directory, state)
        return state.problem

    def _settle(self, written: FeatureVersion) -> None:
        """Bring files and database together after a kill; ``written`` is the version that the database has.

        In a large library only what was noted before the kill; ``check`` looks at all the others.
        """
        catalogue = self._catalogue
        pending = dict(catalogue.pending)
        mine = (self.wanted.fingerprint, self.version.fingerprint, DELETED)
        dropped = [
            (version, clip_id, None)
            for version in catalogue.versions()
            if version not in mine
            for clip_id in catalogue.ids(version)
        ]
        keeps = written.fingerprint == self.version.fingerprint == self.wanted.fingerprint
        dropped += [(DELETED, one, None) for one in (self._expired() if keeps else catalogue.ids(DELETED))]
        small = catalogue.totals().clips <= MOST_SWEPT
        there = set(self._files.listed() if small else filter(self._is_there, pending))
        adopted, unknown = self._adopted(there, pending)
        for name in unknown:
            if name in pending:
                self._files.remove(name)
            else:
                self._files.move_to_lost(name)
        if adopted or dropped or pending or written != self.version:
            self._commit([*adopted, *dropped], version=self.version, settled=list(pending))
        for clip in self.list() if small else ():
            missing = [role for role, file in clip.files.items() if file.name not in there]
            if missing:
                self._broken(clip, missing[0])
            elif clip.record_name not in there:
                self._files.write(clip.record_name, clip.to_json().encode())

    def _is_there(self, name: str) -> bool:
        return (self.directory / name).exists()

    def _next_number(self) -> int:
        """Return a number that no clip has had since the library was opened."""
        with self._mutex:
            self._last_number += 1
            return self._last_number

    def _adopted(self, there: set[str], pending: dict[str, str]) -> tuple[builtins.list[Any], builtins.list[str]]:
        """Clips that are whole although the database does not know them, and the other unknown files."""
        unknown = sorted(name for name in there if not self._catalogue.is_used(name))
        adopted: builtins.list[tuple[str, str, StoredClip | None]] = []
        taken: set[str] = set()
        numbers: set[int] = set()
        for name in unknown:
            if not name.startswith("records/") or pending.get(name) == "remove":
                continue
            with suppress(OSError, ValueError, KeyError, TypeError):
                data = (self.directory / name).read_bytes()
                clip = clip_from_json(data)
                whole = clip.record_name == name and all(map(self._files.intact, clip.files.values()))
                version = self.version.fingerprint
                if whole and clip.version == version and clip.id not in self:
                    taken.update(clip.file_names())
                    if clip.number in numbers or self._catalogue.by_number([clip.number]):
                        clip = replace(clip, number=self._next_number())  # its own is another's by now
                    numbers.add(clip.number)
                    self._last_number = max(self._last_number, clip.number)
                    adopted.append((version, clip.id, clip))
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

    def _put(
        self,
        clip: StoredClip,
        encoded: dict[str, bytes | Path],
        kept: StoredClip | None = None,
        tower: str | None = None,
    ) -> StoredClip:
        """Write the files of a clip, then its row under our version; ``kept`` has the files that stay."""
        stored = dict(kept.files) if kept else {}
        sources: dict[str, bytes | Path] = {}
        for role, data in encoded.items():
            name, size = _named(role, data, clip)
            stored[role], sources[name] = StoredFile(name, size), data
        known = self._catalogue.get(clip.id)
        clip = replace(
            clip,
            number=known.number if known else self._next_number(),
            version=self.wanted.fingerprint,
            tower=self.wanted.tower if tower is None else tower,
            files=stored,
        )
        sources[clip.record_name] = clip.to_json().encode()  # last: where it is, the clip is whole
        with self._in_flight([*sources]):
            for name, data in sources.items():
                self._files.write(name, data)
            with self._mutex:
                if kept is not None and clip.id not in self:
                    raise LibraryError(f"{clip.name} was deleted while it was rebuilt.")
                self._problems = {key: text for key, text in self._problems.items() if key != clip.id}
                self._commit([(clip.version, clip.id, clip)], settled=[*sources])
        return clip

    def _rewrite(self, clips: Sequence[StoredClip], gone: Sequence[tuple[str, str, StoredClip | None]] = ()) -> None:
        """Commit other records of clips whose files stay, and what goes, in one step."""
        records = {clip.record_name: clip.to_json().encode() for clip in clips}
        with self._in_flight([*records]):
            for name, data in records.items():
                self._files.write(name, data)
            self._commit([*gone, *((clip.version, clip.id, clip) for clip in clips)], settled=[*records])

    def _expired(self) -> builtins.list[str]:
        limit = (datetime.now(UTC) - KEPT).isoformat(timespec="seconds")
        return [clip.id for clip in self._catalogue.of(DELETED) if clip.deleted < limit]

    @contextmanager
    def _in_flight(self, names: builtins.list[str]) -> Iterator[None]:
        """Files that are being written: noted before, and removed again where the clip is not stored."""
        with self._mutex:
            new = [name for name in names if not self._catalogue.is_used(name)]
            with self._database.transaction() as transaction:
                transaction.put_pending("add", new)
            self._writing.update(names)
        try:
            yield
        finally:
            with self._mutex:
                self._writing.subtract(names)
                unused = [n for n in names if self._writing[n] <= 0 and not self._catalogue.is_used(n)]
                self._remove(unused)

    def _commit(
        self,
        changes: Sequence[tuple[str, str, StoredClip | None]],
        settings: dict[str, Any] | None = None,
        version: FeatureVersion | None = None,
        settled: Sequence[str] = (),
    ) -> None:
        """Make changes true on disk, then here, then remove the files that nothing uses any more.

        changes: (version, clip id, the new clip or None); settled: files that need no note any longer.
        """
        catalogue, set_version = self._catalogue, version
        version = version or catalogue.version
        old_settings, settings = catalogue.settings, catalogue.settings if settings is None else settings
        replaced = [old for key, clip_id, _ in changes if (old := catalogue.get(clip_id, key)) is not None]
        new = [clip for _, _, clip in changes if clip is not None]
        with self._freeing(), self._database.transaction() as transaction:
            transaction.put_version(version)
            for key, clip_id, clip in changes:
                if clip is None:
                    transaction.put("clips", (key, clip_id), None)
                else:
                    transaction.put_version(self.wanted if key == self.wanted.fingerprint else FeatureVersion(key))
                    transaction.put_clip(clip)
            for name, value in settings.items():
                if old_settings.get(name) != value:
                    transaction.put_setting(name, value)
            if set_version is not None:
                transaction.put_setting("version", version.fingerprint)
            transaction.drop_pending([*settled])
            before = dict.fromkeys(name for clip in replaced for name in clip.file_names())
            gone = [name for name in before if not transaction.used(name)]
            transaction.put_pending("remove", gone)
        self._note(replaced, new, version)
        changed = settings != old_settings or version != catalogue.version
        catalogue.settings, catalogue.version = settings, version
        if changed:
            with suppress(OSError):  # it is written again at the next opening
                write_mirror(self.directory, catalogue)
        self._remove([name for name in gone if self._writing[name] <= 0])

    def _note(self, replaced: Sequence[StoredClip], new: Sequence[StoredClip], version: FeatureVersion) -> None:
        """Bring totals, problems and the list of changes up to date after a commit."""
        self._catalogue.note(replaced, new)
        current = {clip.id for clip in new if clip.version == version.fingerprint}
        lost = {clip.id for clip in replaced if clip.version == self.version.fingerprint} - current
        self._problems = {key: text for key, text in self._problems.items() if key not in lost}
        mine = version.fingerprint
        self._changes |= {clip.number: None for clip in replaced if clip.version == mine}
        self._changes |= {clip.number: clip for clip in new if clip.version == mine}

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
        left = [name for name in names if not (self.directory / name).exists()]
        with suppress(sqlite3.Error), self._database.transaction() as transaction:
            transaction.drop_pending(left)

    def _deleted(self, clip: StoredClip) -> bool:
        return self._catalogue.get(clip.id, clip.version) is None


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _without(clip: StoredClip, role: str) -> StoredClip:
    return replace(clip, files={key: file for key, file in clip.files.items() if key != role})


def _encoded(clip: StoredClip, contents: ClipContents) -> dict[str, bytes | Path]:
    """What to write for a clip, by role: bytes, or a file to copy."""
    frames, vectors = contents.frames, contents.vectors
    check_frames(clip, frames, contents.tokens)
    check_vectors(clip, vectors)
    poster = frames.pixels[len(frames) // 2] if contents.poster is None else contents.poster
    encoded: dict[str, bytes | Path] = {
        "frames": files.frames_to_bytes(frames),
        "tokens": files.tokens_to_bytes(contents.tokens, packed=True),
        "vectors": files.array_to_bytes(vectors),
        "poster": files.jpeg(poster),
    }
    if contents.copy is not None:
        encoded["media"] = contents.copy
    if contents.playable is not None:
        encoded["browser"] = contents.playable
    return encoded


def _named(role: str, data: bytes | Path, clip: StoredClip) -> tuple[str, int]:
    """Name and size of a file before it is written."""
    folder, ending = KINDS[role]
    if isinstance(data, bytes):
        return file_name(folder, digest_of(data), ending), len(data)
    digest = clip.digest if role == "media" else sha256_of(data)
    return file_name(folder, digest, data.suffix.lower()), data.stat().st_size
