"""Samples to train and evaluate on: clips of files and of the playground, with parsed sentences."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from vtr_demo import distributed
from vtr_demo.config import Split, VideoConfig
from vtr_demo.data.benchmarks import SPLITS
from vtr_demo.data.manifest import Clip, Dataset, load_dataset, split_by_group
from vtr_demo.distributed import parallel_map
from vtr_demo.errors import ManifestError, VideoError
from vtr_demo.files import fingerprint
from vtr_demo.playground.captions import hard_negatives
from vtr_demo.playground.layout import sample_spec
from vtr_demo.playground.render import frame_batch
from vtr_demo.playground.spec import MOVING_GROUPS, NEIGHBOURS, RELATIONS, SPATIAL_RELATIONS, ClipSpec, choose, in_split
from vtr_demo.structures import LEVELS, FrameBatch, Sentence
from vtr_demo.text.parser import parse_readable
from vtr_demo.video.reader import IMAGE_EXTENSIONS

log = logging.getLogger(__name__)
_LISTED = 20
_RANKED = 2
"""The fewest clips that can be ranked."""
UNCAPTIONED = "(no sentence published)"


@dataclass(frozen=True)
class HardNegative:
    """A true sentence of a clip and false ones, each with the index of the level that is wrong in it."""

    true: Sentence
    false: tuple[tuple[int, Sentence], ...]


@dataclass(frozen=True)
class Sample:
    """One clip with its sentences. ``frames(count, size)`` decodes or draws it."""

    key: str
    """Identifies the content: equal keys, equal frames."""
    kind: str
    """`photo`, `video`, `playground` or `still`."""
    sentences: tuple[Sentence, ...]
    frames: Callable[[int, int], FrameBatch] = field(compare=False)
    hard_negatives: tuple[HardNegative, ...] = ()
    clip: Clip | None = None
    spec: ClipSpec | None = field(default=None, compare=False)
    """What a playground sample shows."""


def file_samples(dataset: Dataset, video: VideoConfig) -> list[Sample]:
    """Return the samples of a dataset; captions that the parser refuses are logged and left out.

    Raises ManifestError where no clip has a readable caption.
    """
    texts = sorted({caption for clip in dataset.clips for caption in clip.captions})
    parsed, refused = parsed_texts(texts)
    if refused:
        log.warning("%s: %d captions left out, the first: %s", dataset.name, len(refused), refused[0])
    items = []
    for clip in dataset.clips:
        sentences = tuple(parsed[caption] for caption in clip.captions if caption in parsed)
        if sentences:
            photo = clip.kind == "image" or clip.path.suffix.lower() in IMAGE_EXTENSIONS
            kind = "photo" if photo else "video"
            items.append(Sample(_file_key(clip, video), kind, sentences, _reader(clip, kind, video), clip=clip))
    if not items:
        raise ManifestError(f"{dataset.name} has no clip with a readable caption; check its captions.")
    return items


def load_samples(
    names: Sequence[str], split: str, video: VideoConfig, annotations: str, videos: str
) -> tuple[list[Sample], list[str]]:
    """Load manifests and benchmarks; returns their samples and a line for each missing video.

    ``annotations`` and ``videos`` are the benchmarks' folders. The lines name data set, split and id; listed
    videos without a published sentence are marked ``UNCAPTIONED``.
    """
    items: list[Sample] = []
    missing: list[str] = []
    for name in names:
        benchmark = name in SPLITS
        dataset = load_dataset(
            name,
            split=split,
            annotations=Path(annotations) if annotations and benchmark else None,
            videos=Path(videos) if videos and benchmark else None,
        )
        log.info(dataset.summary())
        if dataset.missing:
            more = f" and {len(dataset.missing) - _LISTED} more" if len(dataset.missing) > _LISTED else ""
            listed = ", ".join(dataset.missing[:_LISTED])
            log.warning("%s %s: missing videos: %s%s", dataset.name, split, listed, more)
        missing += [f"{dataset.name} {split} {id_}" for id_ in dataset.missing]
        missing += [f"{dataset.name} {split} {id_} {UNCAPTIONED}" for id_ in dataset.uncaptioned]
        items += file_samples(dataset, video)
    return items, missing


def content_digests(items: Sequence[Sample]) -> dict[str, str]:
    """Return by clip id a digest of what a file shows: its name, size, piece, and captions.

    Folders and times of change do not count, so that data may be moved. Drawn clips have no entry.
    """
    digests: dict[str, list[str]] = {}
    for item in items:
        if (clip := item.clip) is not None:
            piece = clip.path.name, clip.path.stat().st_size, clip.kind, clip.start_s, clip.end_s
            digests.setdefault(clip.id, []).append(fingerprint(piece, clip.captions, clip.extra.get("group")))
    return {id_: fingerprint(sorted(each)) for id_, each in digests.items()}


def held_out(items: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split samples into (training, held out); clips cut from one film stay together.

    Raises ManifestError where either part has a single clip, which always ranks first.
    """
    clips = [item.clip for item in items if item.clip is not None]
    held = set(split_by_group(clips, share, seed=seed)[1]) if len(clips) >= 2 * _RANKED else set()
    if min(len(held), len(clips) - len(held)) < _RANKED:
        raise ManifestError(
            f"hold_out={share:g} of {len(clips)} clips is too few: {_RANKED} are needed to judge by and as many to "
            "train on, since a single clip always ranks first; add clips, change the share, or set hold_out=0."
        )
    return [i for i in items if i.clip not in held], [i for i in items if i.clip in held]


_SIDED = frozenset({"left", "right", "clockwise", "counterclockwise", "leftward", "rightward"})
MIRRORED = "-mirrored"
"""Suffix of a mirrored sample's key."""


def mirrored(items: Sequence[Sample], video: VideoConfig) -> list[Sample]:
    """Return a second view of the files of ``items``: mirrored, the whole picture squashed into the square.

    It shows what a centre crop cuts off. Captions that tell left from right are left out.
    """
    squashed = video.replace(fit="squash")
    views = []
    for item in items:
        kept = tuple(s for s in item.sentences if not _SIDED & {word.text.lower() for word in s.words})
        if item.clip is not None and kept:
            frames = _reader(item.clip, item.kind, squashed, mirror=True)
            views.append(replace(item, key=item.key + MIRRORED, sentences=kept, frames=frames))
    return views


def parsed_texts(texts: list[str]) -> tuple[dict[str, Sentence], list[str]]:
    """Parse texts; returns sentences by text, and the texts that the parser refuses.

    Processes share the work, so every rank must pass the same texts.
    """
    sentences = distributed.scatter_map(texts, partial(parallel_map, function=parse_readable))
    parsed = {text: s for text, s in zip(texts, sentences, strict=True) if s is not None}
    return parsed, [text for text in texts if text not in parsed]


def _file_key(clip: Clip, video: VideoConfig) -> str:
    try:
        stat = clip.path.stat()
    except OSError as error:
        raise VideoError(clip.path, "the file cannot be opened", "check the manifest") from error
    text = f"{clip.path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{clip.start_s}|{clip.end_s}|{video!r}"
    return f"file-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:24]}"


def _reader(clip: Clip, kind: str, video: VideoConfig, *, mirror: bool = False) -> Callable[[int, int], FrameBatch]:
    def frames(count: int, size: int) -> FrameBatch:
        batch = _read(clip, kind, video, count, size)
        return replace(batch, pixels=np.ascontiguousarray(batch.pixels[:, :, ::-1])) if mirror else batch

    return frames


def _read(clip: Clip, kind: str, video: VideoConfig, count: int, size: int) -> FrameBatch:
    from vtr_demo.video.frames import probe, read_frames, spread_seconds, still_frames

    if kind == "photo":
        return still_frames(clip.path, size=size, config=video)
    if clip.start_s is None and clip.end_s is None:
        return read_frames(clip.path, count, size=size, config=video)
    duration_s = probe(clip.path).duration_s
    start, end = clip.start_s or 0.0, duration_s if clip.end_s is None else clip.end_s
    if not 0 <= start < min(end, duration_s):
        reason = f"it lasts {duration_s:.2f} s and has no piece from {start:g} to {end:g} s"
        raise VideoError(clip.path, reason, "correct its start_s and end_s")
    seconds = [start + s for s in spread_seconds(min(end, duration_s) - start, count)]
    return read_frames(clip.path, seconds, size=size, config=video)


# --------------------------------------------------------------------------- samples of the playground
DRAWN = {"clips": 0, "encounters": 2, "neighbours": 3, "stills": 1}
"""Kinds of playground samples, as in the settings ``TrainConfig.playground_...``, and a number for their seeds."""


def playground_samples(
    kind: str, count: int, seed: int, *, split: Split = "train", sprites: str = "", negatives: bool = True
) -> list[Sample]:
    """Return playground samples of a ``kind`` with minimal pairs of sentences; one seed gives the same samples.

    clips: whatever happens. stills: single pictures of two things at rest, one left of, behind, on ... the other;
    spatial relations take thousands of examples (a model that sees few memorises which things go with which
    relation), and a picture costs an eighth of a clip. encounters: two things of which one follows, passes,
    meets ... the other; one random clip in four shows such a relation and one in twenty a pursuit, too few to
    learn them. neighbours: two things that move in place, one left of or behind the other; they tell motion in
    place from motion towards something, and one random clip in ten shows it. Without ``negatives`` samples have
    the true sentences alone.
    """
    rng = np.random.default_rng([seed, DRAWN[kind]])
    specs = _specs(kind, count, rng, split)
    still = kind == "stills"
    # the sentences of clips are drawn from the generator between their specs, those of the others after all specs
    drawn = [
        (spec, [hard_negatives(spec, rng, explicit=not still) for _ in range(1 if still else 3)])
        for spec in (specs if kind == "clips" else list(specs))
    ]
    texts = {true for _, pairs in drawn for true, _ in pairs}
    if negatives:
        texts |= {text for _, pairs in drawn for _, false in pairs for _, text in false}
    parsed, _ = parsed_texts(sorted(texts))
    items = []
    for spec, pairs in drawn:
        hard = tuple(
            HardNegative(parsed[true], tuple((LEVELS.index(level), parsed[text]) for level, text in false))
            for true, false in pairs
            if negatives
        )
        item = drawn_sample(spec, split, sprites, "still" if still else "playground")
        items.append(replace(item, sentences=tuple(parsed[true] for true, _ in pairs), hard_negatives=hard))
    return items


def _specs(kind: str, count: int, rng: np.random.Generator, split: Split) -> Iterator[ClipSpec]:
    if kind == "clips":
        yield from (sample_spec(rng, split=split) for _ in range(count))
    elif kind == "stills":
        done = 0
        while done < count:
            spec = sample_spec(rng, split=split, relation=SPATIAL_RELATIONS[done % len(SPATIAL_RELATIONS)])
            still = replace(spec, actors=tuple(replace(actor, motion="stay") for actor in spec.actors))
            if in_split(still, split):
                done += 1
                yield still
    else:
        moving = [[name for name, rule in RELATIONS.items() if rule.group == group] for group in MOVING_GROUPS]
        groups = moving if kind == "encounters" else NEIGHBOURS
        for index in range(count):
            yield sample_spec(rng, split=split, relation=choose(rng, *groups[index % len(groups)]))


def drawn_sample(spec: ClipSpec, split: Split, sprites: str = "", kind: str = "playground") -> Sample:
    """Return the sample of one playground spec, without sentences; the training split is augmented."""

    def frames(count: int, size: int) -> FrameBatch:
        count = 1 if kind == "still" else count
        return frame_batch(spec, count, size=size, augment=split == "train", sprites=sprites or None)

    key = f"{kind}-{split}-{hashlib.sha256(repr(spec).encode()).hexdigest()[:24]}"
    return Sample(key, kind, (), frames, spec=spec)
