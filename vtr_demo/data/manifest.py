"""Data sets of captioned clips: manifests and benchmarks, and held-out splits by group."""

from __future__ import annotations

import json
import logging
import math
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtr_demo.data.benchmarks import SPLITS, find_videos, protocol_of, read_annotations
from vtr_demo.errors import ConfigError, ManifestError
from vtr_demo.video.reader import VIDEO_EXTENSIONS

log = logging.getLogger(__name__)

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_LISTED = 20  # malformed lines described in one message


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
    sentences a video (see ``benchmarks.protocol_of``).
    """

    name: str
    split: str
    clips: tuple[Clip, ...]
    missing: tuple[str, ...] = ()
    protocol: str = ""
    uncaptioned: tuple[str, ...] = ()

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


def load_dataset(
    spec: str,
    *,
    split: str,
    annotations: Path | None = None,
    videos: Path | None = None,
    options: Mapping[str, str] | None = None,
) -> Dataset:
    """Load a manifest (a path to ``.jsonl``) or a benchmark (a key of ``benchmarks.SPLITS``).

    A benchmark needs ``annotations``, the folder of its published files, and ``videos``, the folder
    below which its videos lie. ``options``: see ``benchmarks.OPTIONS``. A manifest is narrowed to the rows
    of ``split`` only where its rows name one. Raises ConfigError or ManifestError.
    """
    if spec not in SPLITS and (spec.endswith((".jsonl", ".json")) or Path(spec).is_file()):
        if options or annotations or videos:
            raise ConfigError(f"{spec} is a manifest and names its own files; leave out the benchmark settings.")
        return load_manifest(Path(spec), split=split)
    if spec in SPLITS and (annotations is None or videos is None):
        raise ConfigError(f"Dataset {spec} needs two folders: `annotations` and `videos`.")
    read = read_annotations(spec, split=split, annotations=Path(annotations or "."), options=options)
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
def load_manifest(path: Path, *, split: str = "all") -> Dataset:
    """Read a manifest: one JSON object a line, UTF-8, blank lines ignored.

    Each needs ``path`` (relative to the manifest, or absolute) and ``captions`` (a list of sentences);
    ``id``, ``kind``, ``start_s`` and ``end_s`` (seconds) are optional, all other keys go to ``extra``.
    Where rows name a ``split``, only those of ``split`` are kept ("all": all). Rows whose file is absent are
    listed as missing. Raises ManifestError that names every malformed line by its number.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    clips: list[Clip] = []
    places: dict[Any, int] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            clip = _row(line, path.parent)
            for key in (("id", clip.id), (os.path.normpath(clip.path), clip.start_s, clip.end_s)):
                if places.setdefault(key, number) != number:
                    raise ValueError(f"the same clip as line {places[key]}; give one line all its captions")
            clips.append(clip)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: {error}")
    if problems:
        more = f"; and {len(problems) - _LISTED} more lines" if len(problems) > _LISTED else ""
        raise ManifestError(f"{path} has lines to correct: {'; '.join(problems[:_LISTED])}{more}.")
    if not clips:
        raise ManifestError(f"{path} has no rows; write one JSON object with `path` and `captions` a line.")
    clips = _narrowed(path, clips, split)
    present = tuple(clip for clip in clips if os.path.isfile(clip.path))
    missing = tuple(clip.id for clip in clips if not os.path.isfile(clip.path))
    if not present:
        first = f"{len(clips)} files exists (first: {clips[0].path})"
        raise ManifestError(f"{path}: none of its {first}; paths count from the manifest's folder.")
    if missing:
        log.warning("%s: %d of %d files missing", path, len(missing), len(clips))
    return Dataset(path.stem, split, present, missing, protocol_of(clip.captions for clip in present))


def _row(line: bytes, folder: Path) -> Clip:
    """Parse one line; raises ValueError that says what is wrong with it."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    name, captions = row.pop("path", None), row.pop("captions", None)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError("`path` must be the name of a file")
    if not isinstance(captions, list) or not captions:
        raise ValueError("`captions` must be a list of at least one sentence")
    if not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise ValueError("`captions` holds something that is empty or no text")
    if any("\ud800" <= letter <= "\udfff" for letter in name + "".join(captions)):
        raise ValueError("`path` or `captions` holds half a surrogate pair")
    start_s, end_s = (_seconds(row.pop(key, None), key) for key in ("start_s", "end_s"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ValueError("`end_s` must come after `start_s`")
    piece = "" if start_s is None and end_s is None else f"#{start_s or 0:g}-{end_s or math.inf:g}"
    id_ = row.pop("id", name + piece)
    kind = row.pop("kind", "image" if name.lower().endswith(IMAGE_EXTENSIONS) else "video")
    if not isinstance(kind, str) or not isinstance(id_, (str, int)):
        raise ValueError("`id` and `kind` must be text")
    sentences = tuple(" ".join(caption.split()) for caption in captions)
    return Clip(str(id_), folder / name, sentences, kind, row, start_s, end_s)


def _seconds(value: Any, key: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError(f"`{key}` must be a number of seconds")
    return float(value)


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
