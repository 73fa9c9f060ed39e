"""One clip on disk: a folder that is written once, completely, and checked by digest when it is read.

record.json         what the clip is, what made its features, and the digest of every file
frames.npz          the very pixels the model saw, each frame a lossless WebP; seconds; crop box
tokens.safetensors  the image tower's patches and summaries, float16
vectors.npy         (1+M, F) float32: the whole clip, then its M moments
poster.jpg, strip.jpg, and where there are any: media.* (a copy of an upload), browser.*
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from vtr_demo import files
from vtr_demo.errors import LibraryError
from vtr_demo.files import json_bytes, sha256_of, sync_file, sync_folder, write_synced
from vtr_demo.library.segments import Moment
from vtr_demo.structures import FrameBatch, VideoTokens

RECORD, FRAMES, TOKENS, VECTORS = "record.json", "frames.npz", "tokens.safetensors", "vectors.npy"
POSTER, STRIP = "poster.jpg", "strip.jpg"
CLIP_ID = re.compile(r"[0-9a-f]{12}")
_FORMAT = 1


@dataclass(frozen=True)
class ClipRecord:
    """What a library knows of a clip. ``copy`` and ``playable`` are set by the store."""

    name: str
    """File name for people."""
    source: str
    """Path of the original; read again only by whoever rebuilds the library."""
    digest: str
    """SHA-256 of the original's content; its first twelve digits are the id."""
    duration_s: float
    width: int
    height: int
    moments: tuple[Moment, ...] = ()
    captions: tuple[str, ...] = ()
    added: str = ""
    """ISO date and time."""
    copy: str = ""
    """Name, inside the clip's folder, of a copy of the original; often empty."""
    playable: str = ""
    """Name, inside the clip's folder, of a version that browsers play; often empty."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.digest):
            raise ValueError(f"digest must be 64 hexadecimal digits, got {self.digest!r}")
        for inside in (self.copy, self.playable):
            if inside and not re.fullmatch(r"(media|browser)\.[a-z0-9]{1,8}", inside):
                raise ValueError(f"{inside!r} is no file name of a clip folder")

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name the clip to clients: equal content, equal id."""
        return self.digest[:12]


@dataclass(frozen=True)
class Origin:
    """What made the features of a library.

    fingerprint covers everything that shapes the vectors (tower, frame settings, trained weights),
    tower only what shapes frames and tokens; model is the SPEC to tell a person.
    """

    fingerprint: str
    tower: str = ""
    model: str = ""


@dataclass(frozen=True)
class ClipContents:
    """What is stored of a clip beside its record.

    vectors (1+M, F): the whole clip, then its M moments. poster (H, W, 3) uint8 defaults to the
    middle frame. ``copy`` (an upload) and ``playable`` (a version for browsers) are paths of files
    that are copied in.
    """

    frames: FrameBatch
    tokens: VideoTokens
    vectors: np.ndarray
    poster: np.ndarray | None = None
    copy: Path | None = None
    playable: Path | None = None


@dataclass(frozen=True)
class ClipFolder:
    """A complete clip folder, opened."""

    path: Path
    record: ClipRecord
    origin: Origin
    digests: dict[str, str]

    @classmethod
    def open(cls, path: Path, name: str = "") -> ClipFolder:
        """Read and check ``record.json``; ``name`` is what to call the clip where that fails."""
        try:
            values = json.loads((path / RECORD).read_bytes())
            fields = values["record"]
            moments = tuple(Moment(m["start_s"], m["end_s"], tuple(m["frames"])) for m in fields["moments"])
            fields |= {"moments": moments, "captions": tuple(fields["captions"])}
            record = ClipRecord(**fields)
            return cls(path, record, Origin(**values["origin"]), dict(values["digests"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(name or path.name, RECORD) from error

    def frames(self, indices: Sequence[int] | None = None) -> FrameBatch:
        """The frames as they were stored, pixel for pixel; ``indices`` decodes only those."""
        return files.frames_from_bytes(self._read(FRAMES), indices)

    def tokens(self) -> VideoTokens:
        """The image tower's tokens, a batch of one, in float32 (they are kept in float16)."""
        return files.tokens_from_bytes(self._read(TOKENS))

    def vectors(self) -> np.ndarray:
        """(1+M, F) float32."""
        return files.array_from_bytes(self._read(VECTORS))

    def stored_bytes(self) -> int:
        """What the folder takes on disk."""
        return sum(file.stat().st_size for file in self.path.iterdir())

    def with_vectors(self, target: Path, vectors: np.ndarray, origin: Origin) -> None:
        """Write a copy of this clip with other vectors at ``target``; all other files are shared."""
        _check_vectors(self.record, vectors)
        encoded = files.array_to_bytes(vectors)
        target.mkdir()
        for name in self.digests:
            if name != VECTORS:
                _share(self.path / name, target / name)
        write_synced(target / VECTORS, encoded)
        _seal(target, self.record, origin, self.digests | {VECTORS: _digest(encoded)})

    def _read(self, name: str) -> bytes:
        """The bytes of a file, if they are still those that were written."""
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise _damaged(self.record.name, name) from error
        if _digest(data) != self.digests.get(name):
            raise _damaged(self.record.name, name)
        return data


def write_clip(target: Path, record: ClipRecord, origin: Origin, contents: ClipContents) -> ClipRecord:
    """Write a whole clip into the new folder ``target`` and wait until the disk has it.

    Returns the record with the names of the files that were copied in.
    """
    frames, vectors = contents.frames, contents.vectors
    _check_frames(record, frames, contents.tokens)
    _check_vectors(record, vectors)
    encoded = {
        FRAMES: files.frames_to_bytes(frames),
        TOKENS: files.tokens_to_bytes(contents.tokens),
        VECTORS: files.array_to_bytes(vectors),
        POSTER: files.jpeg(frames.pixels[len(frames) // 2] if contents.poster is None else contents.poster),
        STRIP: files.strip(frames.pixels),
    }
    target.mkdir()
    for name, data in encoded.items():
        write_synced(target / name, data)
    digests = {name: _digest(data) for name, data in encoded.items()}
    names = {"media": "", "browser": ""}
    for role, original in (("media", contents.copy), ("browser", contents.playable)):
        if original is not None:
            names[role] = role + _suffix(original)
            shutil.copyfile(original, target / names[role])
            sync_file(target / names[role])
            digests[names[role]] = sha256_of(target / names[role])
    record = replace(record, copy=names["media"], playable=names["browser"])
    _seal(target, record, origin, digests)
    return record


def _seal(target: Path, record: ClipRecord, origin: Origin, digests: dict[str, str]) -> None:
    """Write the record last: a folder that has one is complete."""
    values = {"version": _FORMAT, "record": asdict(record), "origin": asdict(origin), "digests": digests}
    write_synced(target / RECORD, json_bytes(values))
    sync_folder(target)


def _check_frames(record: ClipRecord, frames: FrameBatch, tokens: VideoTokens) -> None:
    if tokens.frame_mask.shape != (1, len(frames)):
        raise ValueError(f"{len(frames)} frames but tokens for {tuple(tokens.frame_mask.shape)}")
    for moment in record.moments:
        if not moment.frames or not all(0 <= i < len(frames) for i in moment.frames):
            raise ValueError(f"{moment} does not point into {len(frames)} frames")


def _check_vectors(record: ClipRecord, vectors: np.ndarray) -> None:
    if vectors.ndim != 2 or len(vectors) != 1 + len(record.moments):
        raise ValueError(
            f"{len(record.moments)} moments need as many vectors and one more, got {vectors.shape}"
        )


def _share(original: Path, target: Path) -> None:
    """A second name for the same file; a copy where the disk has no such thing."""
    try:
        os.link(original, target)
    except OSError:
        shutil.copyfile(original, target)
        sync_file(target)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ".bin"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _damaged(name: str, file: str) -> LibraryError:
    return LibraryError(
        f"{name}: its {file} in the library is missing or damaged; delete and index it again."
    )
