"""A library opened for reading: its clips, their pixels, tokens, vectors and files.

DIR/library.json         the clips in order, and what made their features; replaced in one step
DIR/clips/<id>-<tag>/    one clip as that model saw it (see clipfolder.py); never changed once there
DIR/notes/<name>.json    small settings of the page, e.g. the names given to concepts
"""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo import codec
from vtr_demo.catalog import CLIPS, MANIFEST, Catalog, read_catalog, recover_catalog, unknown_clip
from vtr_demo.clipfolder import POSTER, STRIP, ClipFolder, ClipRecord, Origin
from vtr_demo.errors import LibraryError
from vtr_demo.files import explained
from vtr_demo.records import FrameBatch, VideoTokens


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
        with explained(f"The library {directory} was not opened"):
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
            return codec.jpeg(clip.frames([frames[len(frames) // 2]]).pixels[0])

    def strip(self, clip_id: str) -> Path:
        """A JPEG of up to eight frames side by side, 120 pixels high."""
        return self._clip(clip_id).path / STRIP

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
