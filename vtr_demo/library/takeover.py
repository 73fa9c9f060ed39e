"""Libraries of the first format, a folder a clip: read as they are, or taken over once.

Taking over gives every file its new name as a second name for the same bytes, writes library.db in one
step, and only then retires the old names: whenever it is killed, one of the two formats is whole.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtr_demo.errors import LibraryError
from vtr_demo.files import sync_folder
from vtr_demo.library.content import ContentFiles
from vtr_demo.library.database import LibraryState, write_database, write_mirror
from vtr_demo.library.records import CLIP_ID, KINDS, FeatureVersion, Moment, StoredClip, StoredFile, file_name

MANIFEST, CLIPS, NOTES = "library.json", "clips", "notes"
_FOLDER = re.compile(r"([0-9a-f]{12})-[0-9a-f]{8}")
_ROLES = {"frames.npz": "frames", "tokens.safetensors": "tokens", "vectors.npy": "vectors", "poster.jpg": "poster"}
_DERIVED = ("strip.jpg", "record.json")
"""Old files that the new format does without."""


@dataclass
class OldLibrary:
    """A library of the first format as a state, and where the files of that state lie now."""

    state: LibraryState
    places: dict[str, Path] = field(default_factory=dict)


def is_old(directory: Path) -> bool:
    """Whether a library of the first format lies there, or what is left of one."""
    return (directory / MANIFEST).is_file() or (directory / CLIPS).is_dir()


def read_old(directory: Path, wanted: FeatureVersion) -> OldLibrary:
    """Read library.json and the clips' folders; where library.json is damaged, the folders alone.

    A clip that cannot be read is named in the setting ``notices``. A later format raises ``LibraryError``.
    """
    manifest = directory / MANIFEST
    listed: dict[str, str] | None = None
    version, problem = None, ""
    try:
        values = json.loads(manifest.read_bytes())
        listed = {str(clip["id"]): str(clip["name"]) for clip in values["clips"]}
        version, number = FeatureVersion(**values["origin"]), values["version"]
        if number != 1 or not all(map(CLIP_ID.fullmatch, listed)):
            raise LibraryError(
                f"{manifest} has format {number} but this program reads format 1; "
                "use the version that wrote it, or another folder."
            )
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError) as error:
        listed = None
        problem = f"{manifest} was damaged ({error!r}); the clips were listed again from their folders."
    old = OldLibrary(LibraryState(wanted))
    clips: dict[str, dict[str, StoredClip]] = {}
    versions: Counter[FeatureVersion] = Counter()
    for folder in sorted((directory / CLIPS).glob("*-*")):
        match = _FOLDER.fullmatch(folder.name)
        if match is None:
            continue
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            clip, made_by, places = _read_folder(folder)
            clips.setdefault(clip.version, {})[clip.id] = clip
            versions[made_by] += 1
            old.places |= places
    if version is None or listed is None:
        version = wanted if wanted in versions or not versions else versions.most_common(1)[0][0]
        mine = clips.get(version.fingerprint, {}).values()
        listed = {clip.id: clip.name for clip in sorted(mine, key=lambda one: (one.added, one.id))}
    notices: dict[str, str] = {}
    ordered: dict[str, StoredClip] = {}
    for number, (clip_id, name) in enumerate(listed.items(), start=1):
        stored = clips.get(version.fingerprint, {}).get(clip_id)
        if stored is None:
            notices[clip_id] = (
                f"{name}: its record.json in the library is missing or damaged; delete and index it again."
            )
        else:
            ordered[clip_id] = replace(stored, number=number)
    settings = _read_notes(directory, notices)
    if notices:
        settings["notices"] = notices
    old.state = LibraryState(version, [*ordered.values()], settings, problem)
    return old


def take_over(directory: Path, wanted: FeatureVersion) -> LibraryState:
    """Bring a library of the first format to this one without encoding anything; see the module."""
    old = read_old(directory, wanted)
    files = ContentFiles(directory)
    for clip in old.state.clips:
        for file in clip.files.values():
            files.link(file.name, old.places[file.name])
        files.write(clip.record_name, clip.json.encode())
    for folder in {name.split("/")[0] for name in old.places}:
        sync_folder(directory / folder)
    write_mirror(directory, old.state)
    write_database(directory, old.state)
    return old.state


def retire(directory: Path) -> None:
    """Remove the old names of files that have new ones; what is left of the first format goes to ``lost``."""
    if not is_old(directory):
        return
    files = ContentFiles(directory)
    for folder in sorted((directory / CLIPS).glob("*-*")):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            _, _, places = _read_folder(folder)
            for name, path in places.items():
                new = directory / name
                if new.is_file() and new.stat().st_size == path.stat().st_size:
                    path.unlink()
            if all(path.name in _DERIVED for path in folder.iterdir()):
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()
    for name in (CLIPS, NOTES, MANIFEST):
        with suppress(OSError):
            (directory / name).rmdir()
        if (directory / name).exists():
            files.move_to_lost(name)


def _read_folder(folder: Path) -> tuple[StoredClip, FeatureVersion, dict[str, Path]]:
    """Read one clip's folder: its record in the new form, what made it, and new name -> path."""
    values = json.loads((folder / "record.json").read_bytes())
    record, version = values["record"], FeatureVersion(**values["origin"])
    roles = dict(_ROLES)
    for role, inside in (("media", record["copy"]), ("browser", record["playable"])):
        if inside:
            if not re.fullmatch(r"(media|browser)\.[a-z0-9]{1,8}", inside):
                raise ValueError(f"{inside!r} is no file name of a clip folder")
            roles[inside] = role
    files, places = {}, {}
    for inside, role in roles.items():
        path = folder / inside
        name = file_name(KINDS[role][0], values["digests"][inside], path.suffix)
        if path.is_file():
            files[role], places[name] = StoredFile(name, path.stat().st_size), path
    clip = StoredClip(
        name=record["name"],
        source=record["source"],
        digest=record["digest"],
        duration_s=record["duration_s"],
        width=record["width"],
        height=record["height"],
        moments=tuple(Moment(m["start_s"], m["end_s"], tuple(m["frames"])) for m in record["moments"]),
        captions=tuple(record["captions"]),
        added=record["added"],
        version=version.fingerprint,
        tower=version.tower,
        files=files,
    )
    if not folder.name.startswith(clip.id):
        raise ValueError(f"{folder} holds the record of another clip")
    return clip, version, places


def _read_notes(directory: Path, notices: dict[str, str]) -> dict[str, Any]:
    """Read names and prototypes; a damaged table is named in ``notices``."""
    settings: dict[str, Any] = {}
    for name, lost in (
        ("concept_names", "the names that were given to concepts are lost; give them again"),
        ("prototypes", "the prototypes of an untrained model are lost; rebuild the library"),
    ):
        path = directory / NOTES / f"{name}.json"
        try:
            value = json.loads(path.read_bytes())
            if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
                raise ValueError("it is no table of tables")
            settings[name] = value
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError):
            notices[name] = f"{path} was damaged: {lost}."
    return settings
