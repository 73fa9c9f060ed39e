"""A library opened for writing. A process that is killed anywhere loses nothing that was stored.

A clip counts from the moment library.json names it until it no longer does, and that file is
replaced in one step: after a kill the library is as before the change or as after it. A rebuild
writes folders under the new model's tag beside the old ones, and one replacement switches.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo import files
from vtr_demo.errors import LibraryError
from vtr_demo.files import FolderLock, json_bytes, library_errors, replace_file, sync_folder
from vtr_demo.library.clip_files import (
    CLIP_ID,
    POSTER,
    RECORD,
    STRIP,
    ClipContents,
    ClipFolder,
    ClipRecord,
    Origin,
    write_clip,
)
from vtr_demo.structures import FrameBatch, VideoTokens

# --------------------------------------------------------------------------- library.json: which clip fo
MANIFEST, CLIPS = "library.json", "clips"
_FORMAT = 1
_FOLDER = re.compile(r"([0-9a-f]{12})-[0-9a-f]{8}")
_LEFTOVER = ".tmp-"


def now() -> str:
    """The time as an ISO string in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Catalog:
    """What library.json says."""

    origin: Origin
    clips: dict[str, str] = field(default_factory=dict)
    """Clip id -> file name (to name a clip whose folder cannot be read), in order of arrival."""
    created: str = field(default_factory=now)

    def folder(self, directory: Path, clip_id: str) -> Path:
        """Where the clip's folder for this origin lies."""
        return clip_path(directory, clip_id, self.origin)

    def with_clip(self, clip_id: str, name: str) -> Catalog:
        """The same catalog with one clip more, or with that clip renamed in place."""
        return replace(self, clips={**self.clips, clip_id: name})

    def without(self, clip_id: str) -> Catalog:
        """The same catalog with one clip less."""
        return replace(self, clips={key: name for key, name in self.clips.items() if key != clip_id})

    def save(self, directory: Path) -> None:
        """Replace library.json in one step."""
        clips = [{"id": key, "name": name} for key, name in self.clips.items()]
        values = {"version": _FORMAT, "created": self.created, "origin": asdict(self.origin), "clips": clips}
        replace_file(directory / MANIFEST, json_bytes(values))


def clip_path(directory: Path, clip_id: str, origin: Origin) -> Path:
    """clips/<id>-<tag>: the same clip under another model has another folder."""
    if not CLIP_ID.fullmatch(clip_id):
        raise unknown_clip(clip_id)
    tag = hashlib.sha256(origin.fingerprint.encode()).hexdigest()[:8]
    return directory / CLIPS / f"{clip_id}-{tag}"


def draft_path(directory: Path, clip_id: str) -> Path:
    """Where a clip is written before it is complete; whatever lies there is rubbish."""
    return directory / CLIPS / f"{_LEFTOVER}{clip_id}"


def unknown_clip(clip_id: str) -> LibraryError:
    """The refusal of an id that is malformed or not in the library."""
    return LibraryError(f"No clip {clip_id[:40]!r} in the library; list it to see the ids.")


def read_catalog(directory: Path) -> tuple[Catalog | None, str]:
    """What library.json says, or None; where it is damaged, a sentence that says so.

    A file of another format raises ``LibraryError``: it must not be taken for damaged.
    """
    path = directory / MANIFEST
    try:
        values = json.loads(path.read_bytes())
        version = values["version"]
        clips = {str(clip["id"]): str(clip["name"]) for clip in values["clips"]}
        catalog = Catalog(Origin(**values["origin"]), clips, str(values["created"]))
    except FileNotFoundError:
        return None, ""
    except (ValueError, KeyError, TypeError) as error:
        return None, f"{path} was damaged ({error!r}); the clips were listed again from their folders."
    if version != _FORMAT or not all(CLIP_ID.fullmatch(clip_id) for clip_id in clips):
        raise LibraryError(
            f"{path} has format {version} but this program reads format {_FORMAT}; "
            "use the version that wrote it, or another folder."
        )
    return catalog, ""


def recover_catalog(directory: Path, wanted: Origin) -> Catalog | None:
    """A catalog from the clip folders themselves, for a library that has lost its library.json.

    Takes the folders made by ``wanted``, else those of the origin that made most; None without any.
    """
    found: list[ClipFolder] = []
    for path in sorted((directory / CLIPS).glob("*-*")):
        if _FOLDER.fullmatch(path.name) and (path / RECORD).is_file():
            try:
                found.append(ClipFolder.open(path))
            except LibraryError:
                continue
    if not found:
        return None
    count = Counter(clip.origin for clip in found)
    origin = wanted if wanted in count else count.most_common(1)[0][0]
    mine = sorted((c for c in found if c.origin == origin), key=lambda c: (c.record.added, c.record.id))
    return Catalog(origin, {clip.record.id: clip.record.name for clip in mine})


def remove_leftovers(directory: Path, catalog: Catalog, wanted: Origin) -> None:
    """Remove half-written folders and those that no longer count.

    Folders of the ``wanted`` origin stay while the catalog is of another one: they are the finished
    part of a rebuild. Names that this program does not write are never touched.
    """
    for path in (directory / CLIPS).iterdir():
        match = _FOLDER.fullmatch(path.name)
        if match:
            clip_id = match.group(1)
            keep = {catalog.folder(directory, clip_id), clip_path(directory, clip_id, wanted)}
            if clip_id in catalog.clips and path in keep:
                continue
            discard(path)
        elif path.name.startswith(_LEFTOVER):
            shutil.rmtree(path, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a clip folder, or as much of it as others do not hold open; the next opening goes on."""
    # Renamed first: a folder that is half removed must not look like a clip.
    rubbish = folder.with_name(_LEFTOVER + folder.name)
    shutil.rmtree(rubbish, ignore_errors=True)
    with suppress(OSError):
        folder.replace(rubbish)
    shutil.rmtree(rubbish, ignore_errors=True)


# --------------------------------------------------------------------------- a library opened for readin
class Shelf:
    """The readable side of a library folder. Any number of processes may read, also beside a writer."""

    def __init__(self, directory: Path, origin: Origin) -> None:
        """Use ``Shelf.open``, or ``Store.open`` to write."""
        self.directory, self.origin = directory, origin
        self._catalog = Catalog(origin)
        self._clips: dict[str, ClipFolder] = {}
        self._problems: dict[str, str] = {}

    @classmethod
    def open(cls, directory: Path | str, origin: Origin, *, allow_stale: bool = False) -> Shelf:
        """Open the library in ``directory`` for features made by ``origin``.

        The library of another model is refused with advice unless ``allow_stale``. Clips that
        cannot be read are left out and named by ``problems``.
        """
        shelf = cls(require_library(Path(directory)), origin)
        with library_errors(f"The library {directory} was not opened"):
            shelf._load(allow_stale)
        return shelf

    @property
    def stale(self) -> bool:
        """True while the features belong to another model than the one this was opened for."""
        return self._catalog.origin.fingerprint != self.origin.fingerprint

    @property
    def made_by(self) -> Origin:
        """What made the features; where its ``tower`` equals ours, a rebuild can use the tokens."""
        return self._catalog.origin

    def __len__(self) -> int:
        return len(self._clips)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._clips

    def list(self) -> tuple[ClipRecord, ...]:
        """The clips in the order in which they came; those that cannot be read are left out."""
        return tuple(clip.record for clip in self._clips.values())

    def get(self, clip_id: str) -> ClipRecord:
        """The record of a clip; an id that is malformed or unknown raises ``LibraryError``."""
        return self._clip(clip_id).record

    def find_by_digest(self, digest: str) -> ClipRecord | None:
        """The clip with this content, if it is here and can be read."""
        clip = self._clips.get(digest[:12])
        if clip is None or clip.record.digest != digest or digest[:12] in self._problems:
            return None
        return clip.record

    def problems(self) -> tuple[str, ...]:
        """One sentence for each clip, or for the library, that was not found as it was written."""
        return tuple(self._problems.values())

    def damaged(self) -> tuple[ClipRecord, ...]:
        """The clips of which something stored cannot be read, though their record can."""
        return tuple(clip.record for key, clip in self._clips.items() if key in self._problems)

    def frames(self, clip_id: str, indices: Sequence[int] | None = None) -> FrameBatch:
        """The pixels that the model saw; ``indices`` (a moment's ``frames``) decodes only those."""
        with self._noting(clip_id) as clip:
            return clip.frames(indices)

    def tokens(self, clip_id: str) -> VideoTokens:
        """What the image tower handed over for those frames, a batch of one."""
        with self._noting(clip_id) as clip:
            return clip.tokens()

    def vectors(self) -> tuple[np.ndarray, builtins.list[tuple[str, int]]]:
        """All vectors (N, F) float32, and the owner of each: (clip id, moment), -1 for the whole clip.

        Clips whose vectors are damaged are left out and named by ``problems``.
        """
        rows: builtins.list[np.ndarray] = []
        owners: builtins.list[tuple[str, int]] = []
        for clip_id in self._clips:
            try:
                with self._noting(clip_id) as clip:
                    found = clip.vectors()
            except LibraryError:
                continue
            rows.append(found)
            owners += [(clip_id, moment) for moment in range(-1, len(found) - 1)]
        return (np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)), owners

    def poster(self, clip_id: str) -> Path:
        """A JPEG of one frame."""
        return self._clip(clip_id).path / POSTER

    def still(self, clip_id: str, moment: int) -> bytes:
        """A JPEG of a moment's middle frame, as the model sees it; an unknown one raises ``LibraryError``."""
        record = self._clip(clip_id).record
        if not 0 <= moment < len(record.moments):
            raise LibraryError(f"{record.name} has no moment {moment}; it has {len(record.moments)}, from 0.")
        frames = record.moments[moment].frames
        with self._noting(clip_id) as clip:
            return files.jpeg(clip.frames([frames[len(frames) // 2]]).pixels[0])

    def strip(self, clip_id: str) -> Path:
        """A JPEG of up to eight frames side by side, 120 pixels high."""
        return self._clip(clip_id).path / STRIP

    def original(self, clip_id: str) -> Path:
        """Return the copy of the upload where one is kept, else the path that was indexed."""
        clip = self._clip(clip_id)
        return clip.path / clip.record.copy if clip.record.copy else Path(clip.record.source)

    def media(self, clip_id: str, *, original: bool = False) -> Path:
        """A file to play: the browser version, else the copy of the upload, else the original."""
        clip = self._clip(clip_id)
        inside = clip.record.copy if original else clip.record.playable or clip.record.copy
        path = clip.path / inside if inside else Path(clip.record.source)
        if not path.is_file():
            raise LibraryError(
                f"{clip.record.name} is no longer at {path}; put the file back, or delete the clip and "
                "index it again (search and explanations work without the file)."
            )
        return path

    def stored_bytes(self, clip_id: str | None = None) -> int:
        """What one clip, or all of them, take on disk."""
        chosen = [*self._clips.values()] if clip_id is None else [self._clip(clip_id)]
        return sum(clip.stored_bytes() for clip in chosen)

    def note(self, name: str) -> dict[str, Any]:
        """A small table of settings kept with the library; empty where none was set."""
        path = self._note_path(name)
        try:
            value = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _note_path(self, name: str) -> Path:
        if not re.fullmatch(r"[a-z_]{1,40}", name):
            raise ValueError(f"a note is named by small letters, got {name!r}")
        return self.directory / "notes" / f"{name}.json"

    def _clip(self, clip_id: str) -> ClipFolder:
        clip = self._clips.get(clip_id)
        if clip is None:
            problem = self._problems.get(clip_id)
            raise LibraryError(problem) if problem else unknown_clip(clip_id)
        return clip

    @contextmanager
    def _noting(self, clip_id: str) -> Iterator[ClipFolder]:
        """A clip to read from; damage that shows while reading is kept for ``problems``."""
        try:
            yield self._clip(clip_id)
        except LibraryError as error:
            if clip_id in self._clips:
                self._problems = {**self._problems, clip_id: str(error)}
            raise

    def _load(self, allow_stale: bool) -> None:
        """Read library.json, or list the folders again where it is lost, and open the clips."""
        found, problem = read_catalog(self.directory)
        if problem:
            self._problems["library"] = problem
        found = found or recover_catalog(self.directory, self.origin) or Catalog(self.origin)
        # An empty library belongs to whoever opens it.
        self._catalog = found if found.clips else replace(found, origin=self.origin)
        if self.stale and not allow_stale:
            theirs, ours = found.origin.model or "another model", self.origin.model or "this model"
            raise LibraryError(
                f"The library {self.directory} was made by {theirs} and does not fit {ours}; rebuild it "
                f"with `python -m vtr_demo index --rebuild --library {self.directory}`, or choose its "
                "model with --model."
            )
        self._read_clips()

    def _read_clips(self) -> None:
        """Open the folders that count, keeping those that are open already."""
        clips: dict[str, ClipFolder] = {}
        problems = {key: text for key, text in self._problems.items() if key == "library"}
        for clip_id, name in self._catalog.clips.items():
            path = self._catalog.folder(self.directory, clip_id)
            known = self._clips.get(clip_id)
            if known is not None and known.path == path:
                clips[clip_id] = known
                problems |= {key: text for key, text in self._problems.items() if key == clip_id}
                continue
            try:
                clips[clip_id] = ClipFolder.open(path, name)
            except LibraryError as error:
                problems[clip_id] = str(error)
        self._clips, self._problems = clips, problems


def require_library(folder: Path) -> Path:
    """``folder``, if a library is there."""
    if not (folder / MANIFEST).is_file() and not (folder / CLIPS).is_dir():
        raise LibraryError(
            f"There is no library at {folder}; make one with "
            f"`python -m vtr_demo index PATH... --library {folder}`."
        )
    return folder


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
        with library_errors(f"The library {folder} was not opened"):
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
            replace_file(path, json_bytes(value))

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
        with self._mutex, library_errors(failed):
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
