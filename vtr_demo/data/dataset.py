"""What is trained on and measured: clips of files and of the playground, with parsed sentences.

A corpus knows how to get the frames of an item and what is said of it; it does not know the model.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from vtr_demo import distributed
from vtr_demo.config import TrainConfig, VideoConfig
from vtr_demo.data.benchmarks import SPLITS
from vtr_demo.data.manifest import Clip, Dataset, load_dataset, split_by_group
from vtr_demo.distributed import parallel_map
from vtr_demo.errors import ManifestError, VideoError
from vtr_demo.playground.captions import hard_negatives
from vtr_demo.playground.layout import sample_spec
from vtr_demo.playground.render import frame_batch
from vtr_demo.playground.spec import (
    MOVING_GROUPS,
    NEIGHBOURS,
    RELATIONS,
    SPATIAL_RELATIONS,
    ClipSpec,
    Split,
    in_split,
)
from vtr_demo.structures import LEVELS, FrameBatch, Sentence
from vtr_demo.text.parser import parse_readable

log = logging.getLogger(__name__)
_LISTED = 20
UNCAPTIONED = "(no sentence published)"
_PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class HardNegative:
    """A true sentence of a clip and false ones, each with the index of the level that it gets wrong."""

    true: Sentence
    false: tuple[tuple[int, Sentence], ...]


@dataclass(frozen=True)
class Sample:
    """One clip to learn from. ``frames(count, size)`` decodes or draws it."""

    key: str
    """Names the content: equal keys, equal frames."""
    kind: str
    """`photo`, `video`, `playground` or `still`."""
    sentences: tuple[Sentence, ...]
    frames: Callable[[int, int], FrameBatch] = field(compare=False)
    contrasts: tuple[HardNegative, ...] = ()
    clip: Clip | None = None


def file_samples(dataset: Dataset, video: VideoConfig) -> list[Sample]:
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
            items.append(
                Sample(_file_key(clip, video), kind, sentences, _reader(clip, kind, video), clip=clip)
            )
    if not items:
        raise ManifestError(f"{dataset.name} has no clip with a readable caption; check its captions.")
    return items


def load_samples(
    names: Sequence[str], split: str, config: TrainConfig, missing: list[str] | None = None
) -> list[Sample]:
    """The items of several manifests or benchmarks.

    Missing videos are counted in the log and, all of them, put into ``missing`` by data set and id;
    so are videos for which no sentence was published, marked as such.
    """
    items: list[Sample] = []
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
        items += file_samples(dataset, config.video)
    return items


def held_out(items: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(training, held out): clips cut from one film stay on one side."""
    clips = [item.clip for item in items if item.clip is not None]
    chosen = set(split_by_group(clips, share, seed=seed)[1])
    return [i for i in items if i.clip not in chosen], [i for i in items if i.clip in chosen]


_SIDED = frozenset({"left", "right", "clockwise", "counterclockwise", "leftward", "rightward"})
MIRRORED = "-mirrored"
"""How the key of a mirrored item ends."""


def mirrored(items: Sequence[Sample], video: VideoConfig) -> list[Sample]:
    """The files of ``items`` once more: mirrored, and with the whole picture squashed into the square.

    What is beyond a cropped edge is then seen too. Captions that tell left from right are left out.
    """
    squashed = video.replace(fit="squash")
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
    found = dict(
        zip(
            texts, distributed.scatter_map(texts, partial(parallel_map, function=parse_readable)), strict=True
        )
    )
    parsed = {text: sentence for text, sentence in found.items() if sentence is not None}
    return parsed, [text for text in texts if text not in parsed]


def _file_key(clip: Clip, video: VideoConfig) -> str:
    try:
        stat = clip.path.stat()
    except OSError as error:
        raise VideoError(clip.path, "the file cannot be opened", "check the manifest") from error
    text = f"{clip.path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{clip.start_s}|{clip.end_s}|{video!r}"
    return f"file-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _reader(clip: Clip, kind: str, video: VideoConfig) -> Callable[[int, int], FrameBatch]:
    def frames(count: int, size: int) -> FrameBatch:
        from vtr_demo.video.frames import probe, read_frames, spread_seconds, still_frames

        if kind == "photo":
            return still_frames(clip.path, size=size, config=video)
        if clip.start_s is None and clip.end_s is None:
            return read_frames(clip.path, count, size=size, config=video)
        start = clip.start_s or 0.0
        end = min(clip.end_s or float("inf"), probe(clip.path).duration_s)
        seconds = [start + s for s in spread_seconds(max(end - start, 1e-3), count)]
        return read_frames(clip.path, seconds, size=size, config=video)

    return frames


# --------------------------------------------------------------------------- the playground as a corpus:
def playground_samples(count: int, seed: int, *, split: Split = "train", sprites: str = "") -> list[Sample]:
    """Clips of the playground with minimal pairs of sentences; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    specs = (sample_spec(rng, split=split) for _ in range(count))
    return _drawn("playground", specs, rng, 3, split, sprites)


def playground_stills(count: int, seed: int, *, split: Split = "train", sprites: str = "") -> list[Sample]:
    """Single pictures of two resting things of which one is left of, behind, on ... the other.

    A picture costs an eighth of a clip, and who stands where takes thousands to learn: a model that
    sees few learns by heart which two things go with which relation.
    """
    rng = np.random.default_rng([seed, 1])
    specs: list[ClipSpec] = []
    while len(specs) < count:
        relation = SPATIAL_RELATIONS[len(specs) % len(SPATIAL_RELATIONS)]
        spec = sample_spec(rng, split=split, relation=relation)
        still = replace(spec, actors=tuple(replace(actor, motion="stay") for actor in spec.actors))
        if in_split(still, split):
            specs.append(still)
    return _drawn("still", specs, rng, 1, split, sprites)


def playground_encounters(
    count: int, seed: int, *, split: Split = "train", sprites: str = ""
) -> list[Sample]:
    """Clips of two things of which one follows, passes, meets ... the other.

    Of clips drawn at random one in four shows such a thing, and one in twenty a pursuit: too few to
    learn who is ahead from.
    """
    groups = [[name for name, rule in RELATIONS.items() if rule.group == group] for group in MOVING_GROUPS]
    return _related(groups, count, np.random.default_rng([seed, 2]), split, sprites)


def playground_neighbours(
    count: int, seed: int, *, split: Split = "train", sprites: str = ""
) -> list[Sample]:
    """Clips of two things that move where they are, one left of or behind the other.

    Single pictures show things at rest, and of clips drawn at random one in ten stands so: too few to
    learn that a thing that swings to and fro is not on its way to the other.
    """
    return _related(NEIGHBOURS, count, np.random.default_rng([seed, 3]), split, sprites)


def _related(
    groups: Sequence[Sequence[str]],
    count: int,
    rng: np.random.Generator,
    split: Split,
    sprites: str,
) -> list[Sample]:
    """Clips whose relations come from each group in turn."""
    specs: list[ClipSpec] = []
    for index in range(count):
        relations = groups[index % len(groups)]
        relation = relations[int(rng.integers(len(relations)))]
        specs.append(sample_spec(rng, split=split, relation=relation))
    return _drawn("playground", specs, rng, 3, split, sprites)


def drawn_sample(spec: ClipSpec, split: Split, sprites: str = "", kind: str = "playground") -> Sample:
    """The item of one playground spec, nothing said of it yet; the training split is drawn with noise."""

    def frames(count: int, size: int) -> FrameBatch:
        count = 1 if kind == "still" else count
        return frame_batch(spec, count, size=size, augment=split == "train", sprites=sprites or None)

    key = f"{kind}-{split}-{hashlib.sha256(repr(spec).encode()).hexdigest()[:24]}"
    return Sample(key, kind, (), frames)


def _drawn(
    kind: str,
    specs: Iterable[ClipSpec],
    rng: np.random.Generator,
    voices: int,
    split: Split,
    sprites: str,
) -> list[Sample]:
    """The items of playground specs, each told in so many voices."""
    drawn = [
        (spec, [hard_negatives(spec, rng, explicit=kind == "playground") for _ in range(voices)])
        for spec in specs
    ]
    spoken = {text for _, told in drawn for true, false in told for text in (true, *(f.text for f in false))}
    parsed, _ = parsed_texts(sorted(spoken))
    items = []
    for spec, told in drawn:
        contrasts = [
            HardNegative(parsed[true], tuple((LEVELS.index(f.level), parsed[f.text]) for f in false))
            for true, false in told
        ]
        item = drawn_sample(spec, split, sprites, kind)
        true = tuple(one.true for one in contrasts)
        items.append(replace(item, sentences=true, contrasts=tuple(contrasts)))
    return items
