"""Data sets of captioned clips: manifests and benchmarks, and held-out splits by group."""

from __future__ import annotations

import logging
import math
import os
import random
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vtr_demo.data.benchmarks import SPLITS, find_videos, protocol_of, read_annotations
from vtr_demo.data.caption_files import CaptionRow, describe_left_out, read_captions
from vtr_demo.errors import ConfigError, ManifestError
from vtr_demo.video.reader import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """One file, or a piece of it in seconds, and its sentences. ``kind`` is "image" for a picture."""

    id: str
    path: Path
    captions: tuple[str, ...]
    kind: str = "video"
    extra: dict[str, Any] = field(default_factory=dict, compare=False)
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Dataset:
    """One split of a data set.

    missing: ids of videos whose file is absent. uncaptioned: ids of listed videos for which no sentence was
    published. Both are left out of ``clips`` and are reported. protocol: how video-to-text counts several
    sentences a video (see ``benchmarks.protocol_of``). left_out: a sentence for each line of a manifest that
    could not be used. kind: that of all clips, where it was narrowed to one.
    """

    name: str
    split: str
    clips: tuple[Clip, ...]
    missing: tuple[str, ...] = ()
    protocol: str = ""
    uncaptioned: tuple[str, ...] = ()
    left_out: tuple[str, ...] = field(default=(), compare=False)
    kind: str = ""

    @property
    def sentences(self) -> int:
        """Number of sentences over all clips."""
        return sum(len(clip.captions) for clip in self.clips)

    def summary(self) -> str:
        """Describe the split in one line: counts, missing files and protocol."""
        absent = [f"{len(self.missing)} video files missing"] if self.missing else []
        absent += [f"{len(self.uncaptioned)} videos without a sentence"] if self.uncaptioned else []
        counts = f"{len(self.clips)} clips, {self.sentences} sentences"
        return "; ".join([f"{self.name} {self.split}: {counts}", *absent, f"protocol {self.protocol}"])


def load_dataset(spec: str, *, split: str, annotations: Path | None = None, videos: Path | None = None) -> Dataset:
    """Load a manifest (a path to a file of captions) or a benchmark (a key of ``benchmarks.SPLITS``).

    A benchmark needs ``annotations``, the folder of its published files, and ``videos``, the folder
    below which its videos lie. A manifest is narrowed to the rows of ``split`` only where its rows name one.
    Raises ConfigError or ManifestError.
    """
    if spec not in SPLITS and (spec.endswith((".jsonl", ".json")) or Path(spec).is_file()):
        if annotations:
            raise ConfigError(f"{spec} is a manifest and has its own sentences; leave out the benchmark settings.")
        return load_manifest(Path(spec), split=split, videos=videos)
    if spec in SPLITS and (annotations is None or videos is None):
        raise ConfigError(f"Dataset {spec} needs two folders: `annotations` and `videos`.")
    read = read_annotations(spec, split=split, annotations=Path(annotations or "."))
    files = find_videos(Path(videos or "."), {video.id: video.file_names for video in read.videos})
    clips = tuple(
        Clip(video.id, files[video.id], video.captions, "video", video.extra, None, video.end_s)
        for video in read.videos
        if video.id in files
    )
    missing = tuple(video.id for video in read.videos if video.id not in files)
    if not clips:
        raise ManifestError(
            f"{spec} {split}: none of the {len(read.videos)} expected videos lies below {videos} "
            f"(first: {read.videos[0].id}{VIDEO_EXTENSIONS[0]}); check the folder."
        )
    if missing:
        log.warning("%s %s: %d of %d video files missing", spec, split, len(missing), len(read.videos))
    return Dataset(spec, split, clips, missing, read.protocol, read.uncaptioned)


# --------------------------------------------------------------------------- manifests
def load_manifest(path: Path, *, split: str = "all", videos: Path | None = None) -> Dataset:
    """Read a manifest: any file of captions that names its clips (see ``caption_files.read_captions``).

    The names are paths, absolute or relative to ``videos`` (by default the manifest's folder), for which an
    ending may be missing; rows of one file are one clip. ``id``, ``kind``, ``start_s`` and ``end_s`` (seconds)
    are optional, all other keys go to ``extra``. Where rows name a ``split``, only those of ``split`` are kept
    ("all": all). Rows whose file is absent are listed as missing, lines that cannot be used as left out. Raises
    ManifestError where none is left.
    """
    path = Path(path)
    table = read_captions(path)
    clips: dict[Any, Clip] = {}
    places: dict[str, str] = {}
    listings: dict[Path, dict[str, list[str]]] = {}
    left_out = list(table.left_out)
    for row in table.rows:
        try:
            clip = _clip(row, videos or path.parent, listings)
            place = (os.path.normpath(clip.path), clip.start_s, clip.end_s)
            if (known := clips.get(place)) is not None:
                clip = replace(known, captions=known.captions + clip.captions)
            elif places.setdefault(clip.id, row.where) != row.where:
                raise ValueError(f"its `id` is that of {places[clip.id]}")
            clips[place] = clip
        except ValueError as error:
            left_out.append(f"{row.where}: {error}")
    if left_out:
        log.warning("%s: %s", path, describe_left_out(left_out))
    if not clips:
        raise ManifestError(f"{path} names no clip ({describe_left_out(left_out)}); write its path into each row.")
    kept = _narrowed(path, [*clips.values()], split)
    present = tuple(clip for clip in kept if os.path.isfile(clip.path))
    missing = tuple(clip.id for clip in kept if not os.path.isfile(clip.path))
    if not present:
        first = f"{len(kept)} files exists (first: {kept[0].path})"
        raise ManifestError(f"{path}: none of its {first}; paths count from {videos or path.parent}.")
    if missing:
        log.warning("%s: %d of %d files missing", path, len(missing), len(kept))
    protocol = protocol_of(clip.captions for clip in present)
    return Dataset(path.stem, split, present, missing, protocol, left_out=tuple(left_out))


def _clip(row: CaptionRow, folder: Path, listings: dict[Path, dict[str, list[str]]]) -> Clip:
    """Check a row; raises ValueError that says what is wrong with it."""
    extra = dict(row.extra)
    if not row.clip:
        raise ValueError("`path` must be the name of a file")
    start_s, end_s = (_seconds(extra.pop(key, None), key) for key in ("start_s", "end_s"))
    piece = "" if start_s is None and end_s is None else f"#{start_s or 0:g}-{math.inf if end_s is None else end_s:g}"
    id_ = extra.pop("id", row.clip + piece)
    path = _existing(folder, row.clip, listings)
    kind = extra.pop("kind", "image" if path.name.lower().endswith(IMAGE_EXTENSIONS) else "video")
    if not isinstance(kind, str) or not isinstance(id_, (str, int)):
        raise ValueError("`id` and `kind` must be text")
    return Clip(str(id_), path, row.captions, kind, extra, start_s, end_s)


def _existing(folder: Path, name: str, listings: dict[Path, dict[str, list[str]]]) -> Path:
    """Return the file that ``name`` means: as it is written, however its accents are composed, also without its ending,
    then the only one that differs by capitals alone. ``listings`` keeps the names in folders between calls."""
    plain = name.replace("\\", "/")
    spellings = dict.fromkeys([name, plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))])
    endings = ("",) if Path(name).suffix else ("", *VIDEO_EXTENSIONS)
    paths = [folder / f"{spelling}{ending}" for ending in endings for spelling in spellings]
    if (path := next(filter(os.path.isfile, paths), None)) is not None:
        return path
    for path in paths:
        if path.parent not in listings:
            names = listings[path.parent] = {}
            with suppress(OSError):
                for entry in os.listdir(path.parent):
                    names.setdefault(_folded(entry), []).append(entry)
        if len(same := listings[path.parent].get(_folded(path.name), [])) == 1:
            return path.with_name(same[0])
    return folder / name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _seconds(value: Any, key: str) -> float | None:
    """Read a time; one that does not fit the file is refused where the file is read."""
    if value is None:
        return None
    try:
        seconds = float(value) if type(value) in (int, float, str) else math.nan
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"`{key}` must be a number of seconds")
    return seconds


def _narrowed(path: Path, clips: list[Clip], split: str) -> list[Clip]:
    """Keep the rows of one split, where the manifest's rows name their split."""
    named = {str(clip.extra["split"]) for clip in clips if "split" in clip.extra}
    if split == "all" or not named:
        return clips
    kept = [clip for clip in clips if clip.extra.get("split") == split]
    if not kept or not all("split" in clip.extra for clip in clips):
        raise ManifestError(
            f"{path}: {len(kept)} rows are of split {split!r} (there are {', '.join(sorted(named))}), and "
            "either every row or none must name its `split`."
        )
    return kept


# --------------------------------------------------------------------------- held-out clips
def split_by_group(
    clips: Sequence[Clip], held_out: float, *, seed: int = 0
) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Split clips into (training, held-out), the latter at most the share ``held_out``.

    Clips that share ``extra["group"]`` (cut from one film) stay together. The split depends on the clips and
    the seed, not on the order of the clips. Raises ConfigError where no group is small enough.
    """
    if not 0 < held_out < 1:
        raise ConfigError(f"The share to hold out must lie between 0 and 1, got {held_out}.")
    by_group: dict[tuple[str, str], list[int]] = {}
    for i in sorted(range(len(clips)), key=lambda i: clips[i].id):
        group = clips[i].extra.get("group")
        by_group.setdefault(("clip", clips[i].id) if group is None else ("group", str(group)), []).append(i)
    groups = list(by_group.values())
    random.Random(seed).shuffle(groups)
    out: set[int] = set()
    for members in groups:
        if len(out) + len(members) <= round(held_out * len(clips)):
            out.update(members)
    if not out:
        raise ConfigError(
            f"No group of clips is small enough to be {held_out:.0%} of {len(clips)} clips; hold out a larger share."
        )
    training = tuple(clip for i, clip in enumerate(clips) if i not in out)
    return training, tuple(clip for i, clip in enumerate(clips) if i in out)
