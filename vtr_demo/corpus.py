"""What is trained on and measured: clips of files and of the playground, with parsed sentences.

A corpus knows how to get the frames of an item and what is said of it; it does not know the model.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from vtr_demo import distributed
from vtr_demo.config import TrainConfig, VideoConfig
from vtr_demo.data import Clip, Dataset, load_dataset, split_by_group
from vtr_demo.datasets import SPLITS
from vtr_demo.errors import BadManifest, UnreadableVideo
from vtr_demo.processes import spread
from vtr_demo.records import FrameBatch, Sentence
from vtr_demo.text import parse_readable

log = logging.getLogger(__name__)
_LISTED = 20
UNCAPTIONED = "(no sentence published)"
_PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class Contrast:
    """A true sentence of a clip and false ones, each with the index of the level that it gets wrong.

    ``rivals`` are clips of which false ones are true, by their place in ``false``.
    """

    true: Sentence
    false: tuple[tuple[int, Sentence], ...]
    rivals: Mapping[int, Item] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Item:
    """One clip to learn from. ``frames(count, size)`` decodes or draws it."""

    key: str
    """Names the content: equal keys, equal frames."""
    kind: str
    """`photo`, `video`, `playground` or `still`."""
    sentences: tuple[Sentence, ...]
    frames: Callable[[int, int], FrameBatch] = field(compare=False)
    contrasts: tuple[Contrast, ...] = ()
    clip: Clip | None = None


def file_items(dataset: Dataset, video: VideoConfig) -> list[Item]:
    """The items of a dataset, without captions that the parser refuses; those are counted in the log."""
    texts = sorted({caption for clip in dataset.clips for caption in clip.captions})
    parsed, refused = parsed_texts(texts)
    if refused:
        log.warning("%s: %d captions left out, the first: %s", dataset.name, len(refused), refused[0])
    items = []
    for clip in dataset.clips:
        sentences = tuple(parsed[caption] for caption in clip.captions if caption in parsed)
        if sentences:
            kind = "photo" if clip.path.suffix.lower() in _PHOTOS else "video"
            items.append(Item(_file_key(clip, video), kind, sentences, _reader(clip, kind, video), clip=clip))
    if not items:
        raise BadManifest(f"{dataset.name} has no clip with a readable caption; check its captions.")
    return items


def load_items(
    names: Sequence[str], split: str, config: TrainConfig, missing: list[str] | None = None
) -> list[Item]:
    """The items of several manifests or benchmarks.

    Missing videos are counted in the log and, all of them, put into ``missing`` by data set and id;
    so are videos for which no sentence was published, marked as such.
    """
    items: list[Item] = []
    for name in names:
        benchmark = name in SPLITS
        dataset = load_dataset(
            name,
            split=split,
            annotations=Path(config.annotations) if config.annotations and benchmark else None,
            videos=Path(config.videos) if config.videos and benchmark else None,
        )
        log.info(dataset.summary())
        if dataset.missing:
            more = f" and {len(dataset.missing) - _LISTED} more" if len(dataset.missing) > _LISTED else ""
            listed = ", ".join(dataset.missing[:_LISTED])
            log.warning("%s %s: missing videos: %s%s", dataset.name, split, listed, more)
        if missing is not None:
            missing += [f"{dataset.name} {split} {id_}" for id_ in dataset.missing]
            missing += [f"{dataset.name} {split} {id_} {UNCAPTIONED}" for id_ in dataset.uncaptioned]
        items += file_items(dataset, config.video)
    return items


def held_out(items: list[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """(training, held out): clips cut from one film stay on one side."""
    clips = [item.clip for item in items if item.clip is not None]
    chosen = set(split_by_group(clips, share, seed=seed, keys=("group",))[1])
    return [i for i in items if i.clip not in chosen], [i for i in items if i.clip in chosen]


_SIDED = frozenset({"left", "right", "clockwise", "counterclockwise", "leftward", "rightward"})
MIRRORED = "-mirrored"
"""How the key of a mirrored item ends."""


def mirrored(items: Sequence[Item], video: VideoConfig) -> list[Item]:
    """The files of ``items`` once more: mirrored, and with the whole picture squashed into the square.

    What is beyond a cropped edge is then seen too. Captions that tell left from right are left out.
    """
    squashed = replace(video, fit="squash")
    answer = []
    for item in items:
        kept = tuple(s for s in item.sentences if not _SIDED & {word.text.lower() for word in s.words})
        if item.clip is None or not kept:
            continue
        read = _reader(item.clip, item.kind, squashed)

        def frames(count: int, size: int, read: Callable[[int, int], FrameBatch] = read) -> FrameBatch:
            batch = read(count, size)
            return replace(batch, pixels=np.ascontiguousarray(batch.pixels[:, :, ::-1]))

        answer.append(replace(item, key=item.key + MIRRORED, sentences=kept, frames=frames))
    return answer


def parsed_texts(texts: list[str]) -> tuple[dict[str, Sentence], list[str]]:
    """By text, and what cannot be read. Several processes divide the texts, which are the same for all."""
    found = dict(zip(texts, distributed.divided(texts, partial(spread, work=parse_readable)), strict=True))
    parsed = {text: sentence for text, sentence in found.items() if sentence is not None}
    return parsed, [text for text in texts if text not in parsed]


def _file_key(clip: Clip, video: VideoConfig) -> str:
    try:
        stat = clip.path.stat()
    except OSError as error:
        raise UnreadableVideo(clip.path, "the file cannot be opened", "check the manifest") from error
    text = f"{clip.path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{clip.start_s}|{clip.end_s}|{video}"
    return f"file-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _reader(clip: Clip, kind: str, video: VideoConfig) -> Callable[[int, int], FrameBatch]:
    def frames(count: int, size: int) -> FrameBatch:
        from vtr_demo.video import probe, read_frames, spread_seconds, still_frames

        if kind == "photo":
            return still_frames(clip.path, size=size, config=video)
        if clip.start_s is None and clip.end_s is None:
            return read_frames(clip.path, count, size=size, config=video)
        start = clip.start_s or 0.0
        end = min(clip.end_s or float("inf"), probe(clip.path).duration_s)
        seconds = [start + s for s in spread_seconds(max(end - start, 1e-3), count)]
        return read_frames(clip.path, seconds, size=size, config=video)

    return frames
