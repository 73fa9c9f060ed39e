"""library.json: which clip folders count, in which order, and what made their features."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from vtr_demo.clipfolder import CLIP_ID, RECORD, ClipFolder, Origin
from vtr_demo.errors import LibraryError
from vtr_demo.files import replace_file, to_json

MANIFEST, CLIPS = "library.json", "clips"
_FORMAT = 1
_FOLDER = re.compile(r"([0-9a-f]{12})-[0-9a-f]{8}")
_LEFTOVER = ".tmp-"


def now() -> str:
    """The time as an ISO string in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


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
        replace_file(directory / MANIFEST, to_json(values))


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
