"""A library on disk: library.db says what is there, files named by their digests hold what is big.

A clip counts from the moment its row is committed until the row is deleted: files are written before the
one and removed after the other. What the store does not know it never deletes: it is taken up again where
a clip's record and all its files are whole, or else moved to ``lost``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo import files
from vtr_demo.errors import LibraryError, unknown_clip
from vtr_demo.files import sha256_of
from vtr_demo.library.content import LOST
from vtr_demo.library.reader import NOTICES
from vtr_demo.library.records import (
    DELETED,
    KINDS,
    ClipContents,
    StoredClip,
    StoredFile,
    check_vectors,
    digest_of,
    file_name,
)
from vtr_demo.library.transactions import LibraryTransactions


def now() -> str:
    """Return the time as an ISO string in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class LibraryWriter(LibraryTransactions):
    """The changes of a library's clips, each whole or not at all."""

    # ------------------------------------------------------------------ changes
    def exclusive(self) -> AbstractContextManager[Any]:
        """Return a context in which no other thread changes the library; hold it for moments only."""
        return self._mutex

    def set_setting(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small table of JSON-ready settings with the library."""
        with self._changing(f"The setting {name!r} was not kept"):
            self._commit(settings={**self._settings_without(name), name: value})

    def add(self, clip: StoredClip, contents: ClipContents) -> StoredClip:
        """Store a clip: it survives a crash once this returns, and until then nothing has changed.

        A clip of the same content is refused unless it is damaged. Returns the clip as stored.
        """
        with self._changing(f"{clip.name} was not stored", held=False):
            self._require_stale(False)
            if clip.id in self and clip.id not in self._problems:
                raise LibraryError(f"{clip.name} is already in the library; delete it to index it anew.")
            encoded = _encoded(clip, contents)
            return self._put(replace(clip, added=clip.added or now(), tower=self.wanted.tower), encoded, new=True)

    def replace(self, clip: StoredClip, contents: ClipContents) -> StoredClip:
        """Store everything anew for a clip of the library, in a rebuild or to repair it.

        The copy of an upload, the version for browsers and the poster stay where none is given.
        """
        with self._changing(f"{clip.name} was not rebuilt", held=False):
            encoded = _encoded(clip, contents)
            if contents.poster is None and self.intact(clip.id, "poster"):
                del encoded["poster"]
            return self._put(replace(clip, tower=self.wanted.tower, files=self.get(clip.id).files), encoded)

    def replace_vectors(self, clip_id: str, vectors: np.ndarray) -> StoredClip:
        """Store new vectors (1+M, F) for a clip whose frames and tokens are still right."""
        clip = self.get(clip_id)
        with self._changing(f"{clip.name} was not rebuilt", held=False):
            if clip.tower != self.wanted.tower:
                raise LibraryError(f"{clip.name}: its frames and tokens come from another tower; replace them.")
            check_vectors(clip, vectors)
            return self._put(clip, {"vectors": files.array_to_bytes(vectors)})

    def pack(self, clip: StoredClip) -> None:
        """Store the tokens of a clip as they are packed today, where an earlier version did not; nothing is lost."""
        if not clip.files["tokens"].name.endswith(KINDS["tokens"][1]):
            with self._changing(f"{clip.name} was not packed", held=False):
                self._put(clip, {"tokens": files.tokens_to_bytes(self.tokens(clip.id), packed=True)})

    def update(self, clip: StoredClip, copy: Path | None = None) -> StoredClip:
        """Store another name, place or captions of a clip, or a ``copy`` of its original; everything else stays."""
        with self._changing(f"{clip.name} was not changed", held=False):
            self._require_stale(False)
            return self._put(replace(clip, files=self.get(clip.id).files), {"media": copy} if copy else {})

    def update_all(self, clips: Sequence[StoredClip]) -> None:
        """Store other names, places or captions of many clips in one step; those deleted meanwhile stay so."""
        with self._changing(f"{len(clips)} clips were not changed"):
            self._require_stale(False)
            known = [(one, stored) for one in clips if (stored := self.catalogue.get(one.id)) is not None]
            self._rewrite([replace(one, files=stored.files) for one, stored in known])

    def set_aside(self, clip_ids: Sequence[str]) -> list[StoredClip]:
        """Delete clips in one step so that ``restore`` can bring them back within ``KEPT``; returns them.

        Those set aside longer ago are deleted for good. Ids that are not there are left out.
        """
        with self._changing(f"{len(clip_ids)} clips were not deleted"):
            self._require_stale(False)
            clips = [clip for one in dict.fromkeys(clip_ids) if (clip := self.catalogue.get(one)) is not None]
            gone = [*((DELETED, one) for one in self._expired()), *((clip.version, clip.id) for clip in clips)]
            self._rewrite([replace(clip, version=DELETED, deleted=now()) for clip in clips], gone)
            return clips

    def restore(self, clip_ids: Sequence[str]) -> list[StoredClip]:
        """Bring back clips that were set aside, in one step; returns those that still could be."""
        with self._changing(f"{len(clip_ids)} clips were not restored"):
            self._require_stale(False)
            kept = [self.catalogue.get(one, DELETED) for one in dict.fromkeys(clip_ids) if one not in self]
            known = [clip for clip in kept if clip is not None]
            back = [replace(clip, version=self.version.fingerprint, deleted="") for clip in known]
            self._rewrite(back, [(DELETED, clip.id) for clip in known])
            return back

    def empty_deleted(self) -> None:
        """Delete for good what was set aside, and free its space."""
        with self._changing("What was deleted was not removed"):
            self._commit(gone=[(DELETED, clip_id) for clip_id in self.catalogue.ids(DELETED)])

    def forget_vectors(self) -> None:
        """Take the vectors from all clips in one step, before they are computed anew by the same model."""
        with self._changing("The library was not rebuilt"):
            self._commit([_without_vectors(clip) for clip in self.clips()])
            self._note_missing()

    def delete(self, clip_id: str) -> None:
        """Forget a clip, readable or not, and remove its files; an original elsewhere stays."""
        with self._changing(f"Clip {clip_id[:40]!r} was not deleted"):
            known = [version for version in self.catalogue.versions() if self.catalogue.get(clip_id, version)]
            if clip_id not in self._notices() and clip_id not in self:
                raise unknown_clip(clip_id)
            settings = self._settings_without(clip_id)
            self._commit(gone=[(version, clip_id) for version in known], settings=settings)

    def check(self) -> None:
        """Read every file of every clip, so that ``problems`` and ``damaged`` are complete.

        Files that no clip uses are taken up again where they make a clip, or else moved to ``lost``.
        """
        self._files.forget_checks()
        with self._changing("The library was not checked"):
            there = set(self._files.listed(clean=False)) - self.catalogue.noted()
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
            self._commit(adopted)
        for clip in self.clips():
            for role, file in (*clip.files.items(), ("record", StoredFile(clip.record_name, 0))):
                if not self._files.intact(file):
                    self._broken(clip, role)

    # ------------------------------------------------------------------ rebuilding
    def rebuilt(self, clip_id: str) -> bool:
        """Whether a rebuild, perhaps one that was interrupted, has already done this clip."""
        clip = self.catalogue.get(clip_id, self.wanted.fingerprint)
        return clip is not None and "vectors" in clip.files

    def carry_over(self, clip_id: str) -> None:
        """In a rebuild: keep a clip that cannot be rebuilt now, without vectors, so that it is not lost."""
        clip = _without_vectors(self.get(clip_id))
        with self._changing(f"{clip.name} was not kept", held=False):
            self._put(clip, {})

    def switch(self) -> None:
        """End a rebuild: from now on the library is of our version, and the old features are removed.

        Clips that were neither rebuilt nor carried over are refused by name.
        """
        with self._changing("The rebuilt library was not put in place"):
            self._require_stale(True)
            done = set(self.catalogue.ids(self.wanted.fingerprint))
            if left := [clip.name for clip in self.clips() if clip.id not in done]:
                raise LibraryError(
                    f"{len(left)} clips are not rebuilt yet ({', '.join(left[:5])}); rebuild or delete them."
                )
            others = [version for version in self.catalogue.versions() if version != self.wanted.fingerprint]
            gone = [(version, clip_id) for version in others for clip_id in self.catalogue.ids(version)]
            self._commit(gone=gone, version=self.wanted)
            self._problems = {key: text for key, text in self._problems.items() if key == "library"}
            self._note_missing()

    # ------------------------------------------------------------------ inside
    def _put(self, clip: StoredClip, encoded: dict[str, bytes | Path], *, new: bool = False) -> StoredClip:
        """Write the files of a clip, then its row under our version; what the clip has beside ``encoded`` stays."""
        stored, sources = dict(clip.files), dict[str, bytes | Path]()
        for role, data in encoded.items():
            folder, ending = KINDS[role]
            if isinstance(data, bytes):
                digest, size = digest_of(data), len(data)
            else:
                digest, size = clip.digest if role == "media" else sha256_of(data), data.stat().st_size
                ending = data.suffix.lower()
            stored[role] = StoredFile(file_name(folder, digest, ending), size)
            sources[stored[role].name] = data
        known = self.catalogue.get(clip.id)
        number = known.number if known else self._next_number()
        clip = replace(clip, number=number, version=self.wanted.fingerprint, files=stored)
        sources[clip.record_name] = clip.json.encode()  # last: where it is, the clip is whole
        with self._in_flight([*sources]):
            for name, data in sources.items():
                self._files.write(name, data)
            with self._mutex:
                if not new and clip.id not in self:
                    raise LibraryError(f"{clip.name} was deleted while it was rebuilt.")
                self._problems = {key: text for key, text in self._problems.items() if key != clip.id}
                self._commit([clip], settled=[*sources])
        return clip

    def _rewrite(self, clips: Sequence[StoredClip], gone: Sequence[tuple[str, str]] = ()) -> None:
        """Commit other records of clips whose files stay, and what goes, in one step."""
        records = {clip.record_name: clip.json.encode() for clip in clips}
        with self._in_flight([*records]):
            for name, data in records.items():
                self._files.write(name, data)
            self._commit(clips, gone, settled=[*records])

    def _settings_without(self, notice: str) -> dict[str, Any]:
        """Return the settings without one of the notices of what was lost."""
        settings, notices = dict(self.catalogue.settings), self._notices()
        if notices.pop(notice, None) is not None:
            settings[NOTICES] = notices
        return settings


def _without_vectors(clip: StoredClip) -> StoredClip:
    return replace(clip, files={role: file for role, file in clip.files.items() if role != "vectors"})


def _encoded(clip: StoredClip, contents: ClipContents) -> dict[str, bytes | Path]:
    """What to write for a clip, by role: bytes, or a file to copy; ``ValueError`` where it does not fit together."""
    frames, count = contents.frames, len(contents.frames)
    if contents.tokens.frame_mask.shape != (1, count):
        raise ValueError(f"{count} frames but tokens for {tuple(contents.tokens.frame_mask.shape)}")
    for moment in clip.moments:
        if not moment.frames or not all(0 <= i < count for i in moment.frames):
            raise ValueError(f"{moment} does not point into {count} frames")
    check_vectors(clip, contents.vectors)
    poster = frames.pixels[count // 2] if contents.poster is None else contents.poster
    encoded: dict[str, bytes | Path] = {
        "frames": files.frames_to_bytes(frames),
        "tokens": files.tokens_to_bytes(contents.tokens, packed=True),
        "vectors": files.array_to_bytes(contents.vectors),
        "poster": files.jpeg(poster),
    }
    if contents.copy is not None:
        encoded["media"] = contents.copy
    if contents.playable is not None:
        encoded["browser"] = contents.playable
    return encoded
