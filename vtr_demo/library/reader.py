"""A library opened for reading: clips, their files, and what is wrong with them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo import files
from vtr_demo.errors import LibraryError, unknown_clip
from vtr_demo.files import library_errors
from vtr_demo.library import takeover
from vtr_demo.library.catalogue import Catalogue
from vtr_demo.library.content import ContentFiles
from vtr_demo.library.database import (
    DATABASE,
    DatabaseDamage,
    LibraryState,
    in_memory,
    read_catalogue,
    sqlite_errors,
    state_from_records,
)
from vtr_demo.library.records import CLIP_ID, DELETED, REQUIRED, FeatureVersion, StoredClip, id_of
from vtr_demo.structures import FrameBatch, VideoTokens
from vtr_demo.video.reader import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

FILM_ENDINGS = (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS)
NOTICES = "notices"
"""The setting that holds a sentence for each thing that was lost, until it is deleted or set anew."""


def index_command(argument: str, folder: Path, model: str = "bundled") -> str:
    """Return a command on a library that can be pasted into a shell, wherever the library lies."""
    command = f"python -m vtr_demo index {argument} --library {shlex.quote(str(folder))}"
    return command if model in ("", "bundled") else f"{command} --model {shlex.quote(model)}"


def require_library(folder: Path) -> Path:
    """Return ``folder`` if a library is there."""
    known = (folder / DATABASE).is_file() or (folder / "records").is_dir() or takeover.is_old(folder)
    if not known:
        raise LibraryError(f"There is no library at {folder}; make one with `{index_command('PATH...', folder)}`.")
    return folder


class LibraryReader:
    """The readable side of a library. Any number of processes may read, also beside a writer.

    catalogue: its clips by what is asked of them; writable: whether this may change them.
    """

    catalogue: Catalogue
    writable = False

    def __init__(self, directory: Path, wanted: FeatureVersion) -> None:
        """Use ``LibraryReader.open``, or ``LibraryWriter.open`` to write."""
        self.directory, self.wanted = directory, wanted
        self._files = ContentFiles(directory)
        self._problems: dict[str, str] = {}

    @classmethod
    def open(cls, directory: Path | str, wanted: FeatureVersion) -> LibraryReader:
        """Open the library in ``directory`` for features of the version ``wanted``; writes nothing.

        The library of another model is refused with advice. Clips that cannot be read are named by ``problems``.
        """
        reader = cls(require_library(Path(directory)), wanted)
        failed = f"The library {directory} was not opened"
        with library_errors(failed), sqlite_errors(failed):
            reader._use(reader._read())
        return reader

    # ------------------------------------------------------------------ what is there
    @property
    def version(self) -> FeatureVersion:
        """What made the features that count."""
        return self.catalogue.version

    @property
    def stale(self) -> bool:
        """True while the features belong to another model than the one this was opened for."""
        return self.version.fingerprint != self.wanted.fingerprint

    def __len__(self) -> int:
        return self.catalogue.totals().clips

    def __contains__(self, clip_id: object) -> bool:
        return isinstance(clip_id, str) and self.catalogue.get(clip_id) is not None

    def clips(self) -> tuple[StoredClip, ...]:
        """Return all clips in order of arrival."""
        return tuple(self.catalogue.page())

    def deleted(self) -> tuple[StoredClip, ...]:
        """Return the clips that were deleted and can be restored, the last deleted first."""
        return tuple(sorted(self.catalogue.of(DELETED), key=lambda clip: (clip.deleted, clip.number))[::-1])

    def take_changes(self) -> dict[int, StoredClip | None]:
        """Return what was added, replaced (by number) or deleted (None) since this was asked last."""
        return {}

    def get(self, clip_id: str) -> StoredClip:
        """Return a clip; an id that is malformed or unknown raises ``LibraryError``."""
        clip = self.catalogue.get(clip_id) if CLIP_ID.fullmatch(clip_id) else None
        if clip is None:
            problem = self._notices().get(clip_id)
            raise LibraryError(problem) if problem else unknown_clip(clip_id)
        return clip

    def find_by_digest(self, digest: str, visitor: str = "") -> StoredClip | None:
        """Return the clip with this content, the library's or the visitor's, if it is healthy."""
        for key in dict.fromkeys((id_of(digest), id_of(digest, visitor))):
            clip = self.catalogue.get(key)
            if clip and clip.digest == digest and clip.visitor in ("", visitor) and key not in self._problems:
                return clip
        return None

    def healthy(self, clip_id: str) -> bool:
        """Whether nothing is known to be wrong with a clip."""
        return clip_id in self and clip_id not in self._problems

    def at_its_place(self, clip: StoredClip) -> bool:
        """Whether the original of a clip lies, with its content, where it was indexed."""
        return self._files.has_digest(Path(clip.source), clip.digest)

    def problems(self) -> tuple[str, ...]:
        """Return one sentence for each clip, or for the library, that was not found as it was written."""
        return tuple({**self._notices(), **self._problems}.values())

    def damaged(self) -> tuple[StoredClip, ...]:
        """Return the clips of which something stored is known to be missing or damaged."""
        clips = [clip for key in self._problems if (clip := self.catalogue.get(key)) is not None]
        return tuple(sorted(clips, key=lambda clip: clip.number))

    def setting(self, name: str) -> dict[str, Any]:
        """Return a small table kept with the library; empty where none was set."""
        value = self.catalogue.settings.get(name)
        return value if isinstance(value, dict) else {}

    # ------------------------------------------------------------------ what it holds
    def frames(self, clip_id: str, indices: Sequence[int] | None = None) -> FrameBatch:
        """Return the pixels that the model saw; ``indices`` (a moment's ``frames``) decodes only those."""
        return files.frames_from_bytes(self._bytes(clip_id, "frames"), indices)

    def tokens(self, clip_id: str) -> VideoTokens:
        """Return what the image tower handed over for those frames, a batch of one."""
        return files.tokens_from_bytes(self._bytes(clip_id, "tokens"))

    def clip_vectors(self, clip_id: str) -> np.ndarray:
        """Return the vectors of one clip (1+M, F) float32: the whole clip, then its M moments."""
        return files.array_from_bytes(self._bytes(clip_id, "vectors"))

    def still(self, clip_id: str, moment: int) -> bytes:
        """Return a JPEG of a moment's middle frame, as the model sees it; an unknown one is refused."""
        clip = self.get(clip_id)
        clip.check_moment(moment, first=0)
        frames = clip.moments[moment].frames
        return files.jpeg(self.frames(clip_id, [frames[len(frames) // 2]]).pixels[0])

    def place(self, clip: StoredClip, role: str) -> Path:
        """Return where a file of a clip lies; asks the disk for nothing."""
        return self._files.path(clip.files[role].name) if role in clip.files else self.directory / "missing"

    def original(self, clip: StoredClip) -> Path:
        """Return the copy of the upload where there is one, else the path of the original."""
        return self.place(clip, "media") if "media" in clip.files else Path(clip.source)

    def checked(self, clip_id: str, role: str) -> Path:
        """Return where a file of a clip lies, if it is still what was written; hashed when first asked for."""
        if not self.intact(clip_id, role):
            raise self._broken(self.get(clip_id), role)
        return self.place(self.get(clip_id), role)

    def media(self, clip_id: str, *, original: bool = False) -> Path:
        """Return a file to play (``original``: to decode) that still has the content that was indexed.

        The browser version, else the copy of the upload, else the original; hashed when first asked for.
        """
        clip = self.get(clip_id)
        for role in ("media",) if original else ("browser", "media"):
            if role in clip.files:
                return self.checked(clip_id, role)
        path = Path(clip.source)
        if not original and path.suffix.lower() not in FILM_ENDINGS:
            raise LibraryError(f"{clip.name} does not end as films do and is not served; give it such a name.")
        if not path.is_file():
            raise LibraryError(
                f"{clip.name} is no longer at {path}; put the file back, or delete the clip and "
                "index it again (search and explanations work without the file)."
            )
        same_size = clip.size in (0, path.stat().st_size)  # 0: a record from before sizes were kept
        if not same_size or not self._files.has_digest(path, clip.digest):
            raise LibraryError(
                f"{clip.name} has changed since it was indexed; rebuild the library to index it as it is, or "
                f"put the file back at {path}."
            )
        return path

    def intact(self, clip_id: str, role: str) -> bool:
        """Whether a file of a clip is there as it was written."""
        file = self.get(clip_id).files.get(role)
        return file is not None and self._files.intact(file)

    # ------------------------------------------------------------------ inside
    def _notices(self) -> dict[str, str]:
        return {key: text for key, text in self.setting(NOTICES).items() if isinstance(text, str)}

    def _bytes(self, clip_id: str, role: str) -> bytes:
        """Read a clip's file; damage that shows is kept for ``problems``."""
        clip = self.get(clip_id)
        try:
            return self._files.read(clip.files[role])
        except (OSError, ValueError, KeyError) as error:
            raise self._broken(clip, role) from error

    def _broken(self, clip: StoredClip, role: str) -> LibraryError:
        """Return the sentence for a file that cannot be read; it is kept unless the clip was deleted."""
        if self.catalogue.get(clip.id, clip.version) is None:  # by another thread or process
            return LibraryError(f"{clip.name} has been deleted; search again to see what is there now.")
        sentence = (
            f"{clip.name}: its {role} in the library are missing or damaged; rebuild the library, or delete "
            "the clip and index it again."
        )
        if clip.id in self:
            self._problems = {**self._problems, clip.id: sentence}
        return LibraryError(sentence)

    def _read(self) -> Catalogue:
        """Read library.db, or what it can be built from again."""
        if (self.directory / DATABASE).is_file():
            try:
                return read_catalogue(self.directory)
            except DatabaseDamage as error:
                return in_memory(self._recovered(error))
        if takeover.is_old(self.directory):
            old = takeover.read_old(self.directory, self.wanted)
            self._files = ContentFiles(self.directory, old.places)
            return in_memory(old.state)
        return in_memory(self._recovered("it is missing"))

    def _recovered(self, damage: object) -> LibraryState:
        """Build the state from the clips' own records, and say so."""
        state = state_from_records(self.directory, self.wanted) or LibraryState(self.wanted)
        count = sum(clip.version == state.version.fingerprint for clip in state.clips)
        sentence = (
            f"{self.directory / DATABASE} was damaged ({damage}); the {count} clips were listed "
            "again from their own records."
        )
        return replace(state, problem=f"{sentence} {state.problem}".strip())

    def _use(self, catalogue: Catalogue, allow_stale: bool = False) -> None:
        """Take a catalogue; an empty library belongs to whoever opens it."""
        if not any(catalogue.totals(version).clips for version in catalogue.versions() if version != DELETED):
            catalogue.version = self.wanted
        self.catalogue = catalogue
        if catalogue.problem:
            self._problems["library"] = catalogue.problem
        self._note_missing()
        if self.stale and not allow_stale:
            theirs, ours = self.version.model or "another model", self.wanted.model or "this model"
            command = index_command("--rebuild", self.directory, self.wanted.model)
            raise LibraryError(
                f"The library {self.directory} was made by {theirs} and does not fit {ours}; rebuild it "
                f"with `{command}`, or choose its model with --model."
            )

    def _note_missing(self) -> None:
        """Name the clips that lack a file by their own record, as one that waits for its vectors does."""
        for clip in self.catalogue.incomplete():
            self._broken(clip, next(role for role in REQUIRED if role not in clip.files))
