"""What a library keeps of a clip: the record, the features' version, and the names of its files."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.errors import LibraryError
from vtr_demo.structures import FrameBatch, VideoTokens

FORMAT = 2
DELETED = "deleted"
"""The version of clips that were deleted and can still be restored; no fingerprint is called so."""
CLIP_ID = re.compile(r"[0-9a-f]{12}")
FOLDERS = ("frames", "tokens", "vectors", "pictures", "media", "records")
FILE_NAME = re.compile(rf"({'|'.join(FOLDERS)})/[0-9a-f]{{64}}\.[a-z0-9]{{1,8}}")
"""``FOLDER/SHA-256.ENDING``: the folder inside the library, and the digest of the content."""

KINDS = {
    "frames": ("frames", ".npz"),
    "tokens": ("tokens", ".packed"),
    "vectors": ("vectors", ".npy"),
    "poster": ("pictures", ".jpg"),
    "media": ("media", ""),
    "browser": ("media", ""),
}
"""Role of a clip's file -> its folder and ending; an empty one is that of the video. Tokens that end in
``.bin`` are from before they were packed, and are read as they are."""

REQUIRED = ("frames", "tokens", "vectors", "poster")
"""Roles that every whole clip has."""


def file_name(folder: str, digest: str, ending: str) -> str:
    """Name a file by its content: ``FOLDER/SHA-256.ENDING``; an odd ending becomes ``.bin``."""
    return f"{folder}/{digest}{ending if re.fullmatch(r'[.][a-z0-9]{1,8}', ending) else '.bin'}"


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def id_of(digest: str, visitor: str = "") -> str:
    """Return the id of a clip; a visitor's copy has another than the library's own."""
    return (digest_of(f"{visitor} {digest}".encode()) if visitor else digest)[:12]


@dataclass(frozen=True)
class FeatureVersion:
    """What made the features of a library.

    fingerprint covers everything that shapes the vectors (tower, frame settings, trained weights),
    tower only what shapes frames and tokens; model is the SPEC that a person gave.
    """

    fingerprint: str
    tower: str = ""
    model: str = ""


@dataclass(frozen=True)
class StoredFile:
    """A file of the library: ``FOLDER/SHA-256.ENDING``, and its size in bytes."""

    name: str
    size: int

    def __post_init__(self) -> None:
        if not FILE_NAME.fullmatch(self.name) or not isinstance(self.size, int) or self.size < 0:
            raise ValueError(f"{self.name!r} ({self.size!r} bytes) is no file of a library")


@dataclass(frozen=True)
class Moment:
    """A part of a clip in seconds, and the indices of its frames in the clip's ``FrameBatch``."""

    start_s: float
    end_s: float
    frames: tuple[int, ...]


@dataclass(frozen=True)
class StoredClip:
    """A clip of a library. The store sets ``added``, ``number``, ``version``, ``tower`` and ``files``."""

    name: str
    """File name for people."""
    source: str
    """Path of the original; read again only by a rebuild."""
    digest: str
    """SHA-256 of the original's content; its first twelve digits are the id."""
    duration_s: float
    width: int
    height: int
    moments: tuple[Moment, ...] = ()
    captions: tuple[str, ...] = ()
    added: str = ""
    """ISO date and time in UTC."""
    number: int = 0
    """Order of arrival."""
    size: int = 0
    """Bytes of the original; with ``modified_ns`` it is known again without being read."""
    modified_ns: int = 0
    """When the original was last changed; 0 where that was too short ago to tell a later change by."""
    visitor: str = ""
    """Whose upload it is on a public page; empty for a clip of the library itself."""
    version: str = ""
    """Fingerprint of the model that made the vectors, or ``DELETED``."""
    tower: str = ""
    """Fingerprint of the tower that made frames and tokens."""
    deleted: str = ""
    """When it was deleted, ISO date and time in UTC, as long as it can be restored."""
    files: dict[str, StoredFile] = field(default_factory=dict)
    """Role (see ``KINDS``) -> file. Without ``vectors`` the clip cannot be searched."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.digest):
            raise ValueError(f"digest must be 64 hexadecimal digits, got {self.digest!r}")
        if unknown := set(self.files) - set(KINDS):
            raise ValueError(f"unknown roles of files: {sorted(unknown)}")

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name the clip to clients: equal content and visitor, equal id."""
        return id_of(self.digest, self.visitor)

    @property
    def content(self) -> int:
        """A signed number of 64 bits that names the content of the vectors; 0 where there are none."""
        digest = self.files["vectors"].name.partition("/")[2] if "vectors" in self.files else ""
        return int.from_bytes(bytes.fromhex(digest[:16]), "big", signed=True)

    @property
    def record_name(self) -> str:
        """Name of the file that holds this record, so that a lost database can be written again."""
        return file_name("records", digest_of(self.json.encode()), ".json")

    @property
    def copied(self) -> bool:
        """Whether the library holds a video of its own: the upload's copy or a version for browsers."""
        return "media" in self.files or "browser" in self.files

    def check_moment(self, moment: int, first: int = -1) -> None:
        """Refuse a moment that the clip has not; -1 is the whole clip."""
        if not first <= moment < len(self.moments):
            raise LibraryError(f"{self.name} has no moment {moment}; it has {len(self.moments)}, from 0.")

    def file_names(self) -> list[str]:
        """Names of all files of the clip, that of its record among them."""
        return [*(file.name for file in self.files.values()), self.record_name]

    @cached_property
    def stored_bytes(self) -> int:
        """What the clip's files take on disk."""
        return sum(file.size for file in self.files.values()) + len(self.json)

    @cached_property
    def json(self) -> str:
        """The record as canonical ASCII JSON (file names may hold what UTF-8 cannot)."""
        values = {name: value for name in _FIELDS if (value := getattr(self, name)) or name not in _LATER}
        return json.dumps({"format": FORMAT, **values}, sort_keys=True, indent=1, default=asdict)


_LATER = ("visitor", "size", "modified_ns", "deleted")
"""Fields that came after the first records of this format: left out where empty, so that those keep their names."""
_FIELDS = tuple(one.name for one in fields(StoredClip))


def clip_from_json(text: str | bytes) -> StoredClip:
    """Decode ``StoredClip.json``; raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    try:
        values: dict[str, Any] = json.loads(text)
        if values.pop("format") != FORMAT or set(values) | set(_LATER) != {*_FIELDS}:
            raise ValueError("the record has another format")
        values["moments"] = tuple(Moment(m["start_s"], m["end_s"], tuple(m["frames"])) for m in values["moments"])
        values["captions"] = tuple(values["captions"])
        values["files"] = {role: StoredFile(**file) for role, file in values["files"].items()}
        return StoredClip(**values)
    except (AttributeError, RecursionError) as error:
        raise ValueError("this is no record of a clip") from error


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


def check_vectors(clip: StoredClip, vectors: np.ndarray) -> None:
    """Raise ``ValueError`` unless ``vectors`` are (1+M, F) for the clip's M moments."""
    if vectors.ndim != 2 or len(vectors) != 1 + len(clip.moments):
        raise ValueError(f"{len(clip.moments)} moments need as many vectors and one more, got {vectors.shape}")
