"""A library opened for writing. A process that is killed anywhere loses nothing that was stored.

A clip counts from the moment library.json names it until it no longer does, and that file is
replaced in one step: after a kill the library is as before the change or as after it. A rebuild
writes folders under the new model's tag beside the old ones, and one replacement switches.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.catalog import (
    CLIPS,
    Catalog,
    clip_path,
    discard,
    draft_path,
    now,
    remove_leftovers,
    unknown_clip,
)
from vtr_demo.clipfolder import ClipContents, ClipRecord, Origin, write_clip
from vtr_demo.errors import LibraryError
from vtr_demo.files import FolderLock, explained, replace_file, sync_folder, to_json
from vtr_demo.shelf import Shelf, require_library


class Store(Shelf):
    """A library folder with the right to change it, which one process has at a time."""

    _lock: FolderLock | None = None

    def __init__(self, directory: Path, origin: Origin) -> None:
        """Use ``Store.open``."""
        super().__init__(directory, origin)
        self._mutex = threading.RLock()

    @classmethod
    def open(
        cls, directory: Path | str, origin: Origin, *, create: bool = True, allow_stale: bool = False
    ) -> Store:
        """Open or, with ``create``, make the library in ``directory``; half-written folders are removed.

        The library of another model is refused with advice; ``allow_stale`` opens it for a
        rebuild: reading and ``delete`` work, then ``replace`` or ``replace_vectors``, and ``switch``.
        """
        folder = Path(directory)
        with explained(f"The library {folder} was not opened"):
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            else:
                require_library(folder)
            store = cls(folder, origin)
            store._lock = FolderLock(folder)
            try:
                store._load(allow_stale)
                (folder / CLIPS).mkdir(exist_ok=True)
                store._catalog.save(folder)
                remove_leftovers(folder, store._catalog, origin)
            except BaseException:
                store.close()
                raise
        return store

    def close(self) -> None:
        """Let another process write. Reading goes on working."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def set_note(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small table of JSON-ready settings with the library."""
        with self._changing(f"The settings {name!r} were not kept"):
            path = self._note_path(name)
            path.parent.mkdir(exist_ok=True)
            replace_file(path, to_json(value))

    def add(self, record: ClipRecord, contents: ClipContents) -> ClipRecord:
        """Store a clip: it survives a crash once this returns, and until then nothing has changed.

        A clip of the same content is refused unless it is damaged. Returns the record as stored.
        """
        with self._changing(f"{record.name} was not stored"):
            self._require_stale(False)
            if record.id in self._clips and record.id not in self._problems:
                raise LibraryError(f"{record.name} is already in the library; delete it to index it anew.")
            record = replace(record, added=record.added or now())
            with self._draft(record.id) as draft:
                record = write_clip(draft, record, self.origin, contents)
            self._clips = {key: clip for key, clip in self._clips.items() if key != record.id}
            self._commit(self._catalog.with_clip(record.id, record.name))
            return record

    def delete(self, clip_id: str) -> None:
        """Forget a clip, readable or not, and remove its folder; an original elsewhere stays."""
        with self._changing(f"Clip {clip_id[:40]!r} was not deleted"):
            if clip_id not in self._catalog.clips:
                raise unknown_clip(clip_id)
            self._commit(self._catalog.without(clip_id))

    # ------------------------------------------------------------------ rebuilding
    def rebuilt(self, clip_id: str) -> bool:
        """True where a rebuild, perhaps one that was interrupted, has already done this clip."""
        return clip_path(self.directory, clip_id, self.origin).is_dir()

    def replace_vectors(self, clip_id: str, vectors: np.ndarray) -> None:
        """In a rebuild: new vectors (1+M, F) for a clip whose frames and tokens are still right."""
        clip = self._clip(clip_id)
        with self._changing(f"{clip.record.name} was not rebuilt"):
            self._require_stale(True)
            if self.made_by.tower != self.origin.tower:
                raise LibraryError(
                    f"{clip.record.name}: its frames and tokens come from another tower; replace them."
                )
            with self._draft(clip_id) as draft:
                clip.with_vectors(draft, vectors, self.origin)

    def replace(self, record: ClipRecord, contents: ClipContents) -> None:
        """In a rebuild: everything anew for a clip of the library, as ``add`` takes it.

        The copy of an upload and the version for browsers are carried over where none is given.
        """
        old = self._clip(record.id)
        with self._changing(f"{record.name} was not rebuilt"):
            self._require_stale(True)
            copy = old.path / old.record.copy if old.record.copy else None
            playable = old.path / old.record.playable if old.record.playable else None
            contents = replace(contents, copy=contents.copy or copy, playable=contents.playable or playable)
            with self._draft(record.id) as draft:
                write_clip(draft, record, self.origin, contents)

    def switch(self, *, drop: bool = False) -> None:
        """End a rebuild: from now on the library is of our origin, and the old features are removed.

        Clips that were not rebuilt are refused by name; ``drop`` forgets them instead.
        """
        with self._changing("The rebuilt library was not put in place"):
            self._require_stale(True)
            left = {key: name for key, name in self._catalog.clips.items() if not self.rebuilt(key)}
            if left and not drop:
                raise LibraryError(
                    f"{len(left)} clips are not rebuilt yet ({', '.join([*left.values()][:5])}); "
                    "rebuild or delete them."
                )
            done = {key: name for key, name in self._catalog.clips.items() if key not in left}
            self._commit(replace(self._catalog, origin=self.origin, clips=done))

    @contextmanager
    def _changing(self, failed: str) -> Iterator[None]:
        """One change at a time, in a library that is open for writing."""
        with self._mutex, explained(failed):
            if self._lock is None:
                raise LibraryError(f"The library {self.directory} is closed; open it again to change it.")
            yield

    def _require_stale(self, wanted: bool) -> None:
        if self.stale != wanted:
            advice = "finish its rebuild first" if self.stale else "it needs no rebuild"
            raise LibraryError(f"The library {self.directory} was made by {self.made_by.model}; {advice}.")

    @contextmanager
    def _draft(self, clip_id: str) -> Iterator[Path]:
        """A place to write a clip folder; a block that ends well moves it where it belongs."""
        draft, target = draft_path(self.directory, clip_id), clip_path(self.directory, clip_id, self.origin)
        try:
            yield draft
            if target.exists():
                discard(target)
            draft.replace(target)
            sync_folder(target.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _commit(self, catalog: Catalog) -> None:
        """Make ``catalog`` true on disk, then here, then remove what no longer counts."""
        catalog.save(self.directory)
        self._catalog = catalog
        self._read_clips()
        remove_leftovers(self.directory, catalog, self.origin)
