"""Speed and memory as ratios to named baselines, measured in turns within one run.

A number of seconds says as much about the machine as about the program; how often a plain way of doing
the same fits into it does not. Each case runs ours and its baseline alternately, once to warm up and then
``rounds`` times; the ratio is the median over the rounds, beside the lowest and the highest.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np
import torch

from vtr_demo.errors import ConfigError, LibraryError
from vtr_demo.evaluation.confidence import null_captions
from vtr_demo.files import array_to_bytes
from vtr_demo.library.database import LibraryState, write_database
from vtr_demo.library.encoding import encode_frames, read_clip
from vtr_demo.library.indexing import Indexer
from vtr_demo.library.queries import Queries
from vtr_demo.library.ranking import Ranking
from vtr_demo.library.records import (
    KINDS,
    REQUIRED,
    ClipContents,
    FeatureVersion,
    StoredClip,
    StoredFile,
    digest_of,
    file_name,
)
from vtr_demo.library.store import LibraryWriter
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.structures import LEVELS, TermWeights, TextFeatures
from vtr_demo.text.parser import parse, parse_many
from vtr_demo.vectors.base import MEMBER_BITS
from vtr_demo.vectors.local import SEGMENT_ROWS, FaissVectors
from vtr_demo.video.frames import LimitConfig

TOP = 10
"""Hits that a search asks for."""
LARGE, ROW = 100_000, 48
"""Clips of a large library, which ``--clips`` changes, and those on one page of its list."""
RERANKED = 1_000
"""Clips that are ranked again after a change of the query."""
INDEXED = 8
"""Files that are indexed."""
SENTENCE = "a dog runs after a ball while a cat sleeps on the sofa"
_VERSION = FeatureVersion("bench", "bench", "bench")


@dataclass(frozen=True)
class Case:
    """Two ways to the same; either may say how many bytes it holds for it."""

    ours: Callable[[], Any]
    baseline: Callable[[], Any]
    ours_is: str
    baseline_is: str
    ours_bytes: int = 0
    baseline_bytes: int = 0


@dataclass(frozen=True)
class Ratio:
    """ratio: seconds of ours per second of the baseline, the median over the rounds, and the extremes;
    memory: bytes of ours per byte of the baseline, None where neither was counted."""

    name: str
    ours: str
    baseline: str
    ratio: float
    lowest: float
    highest: float
    seconds: float
    memory: float | None


@dataclass(frozen=True)
class Bench:
    """What the cases share: a model, one clip, and how many clips a large library has."""

    model: RetrievalModel
    clip: Path
    clips: int = LARGE


# --------------------------------------------------------------------------- cases
def indexing(bench: Bench) -> Case:
    """From files to a library, against the towers alone; the clip, and others of its folder."""
    model, limits = bench.model, LimitConfig()
    others = sorted(path for path in bench.clip.parent.glob(f"*{bench.clip.suffix}") if path != bench.clip)
    paths = [bench.clip, *others][:INDEXED]
    pixels = [read_clip(path, model, limits).frames.pixels for path in paths]

    def index() -> int:
        with tempfile.TemporaryDirectory(prefix="vtr-bench-") as folder:
            indexer = Indexer.open(Path(folder), model, limits)
            indexer.add(paths, keep_copy=False)
            indexer.close()
            return sum(clip.stored_bytes for clip in indexer.library.clips())

    stored = index()
    return Case(
        index,
        lambda: [model.backbone.encode_frames(frames) for frames in pixels],
        f"{len(paths)} files read, encoded and stored ({stored / len(paths) / 1e3:.0f} kB each)",
        "the towers on the same frames, decoded before; memory: 450 kB a clip",
        stored,
        450_000 * len(paths),
    )


def codes(bench: Bench) -> Case:
    """A search among many clips by 4-bit codes, against reading its sentence; memory against 1,400 bytes a clip."""
    model, (known, real) = bench.model, _real_vectors(bench.model)
    queries = known.flat(model.model.default_weights).cpu().numpy()[::5]
    store, rng = FaissVectors(real.shape[1], _folder(), _unreadable), np.random.default_rng(0)
    scores = [np.zeros((len(queries), 0), np.float32)]
    for start in range(0, bench.clips, SEGMENT_ROWS):
        part = _rotated(real, rng, min(SEGMENT_ROWS, bench.clips - start), model.model.width)
        numbers = np.arange(start, start + len(part), dtype=np.int64)
        store.add(numbers << MEMBER_BITS, part, numbers)
        scores.append(queries @ part.T)
    right = [set(np.argpartition(-row, TOP)[:TOP].tolist()) for row in np.concatenate(scores, axis=1)]
    answers = [store.search(query, TOP).ids >> MEMBER_BITS for query in queries]
    recall = np.mean([len(best & {*answer.tolist()}) / TOP for best, answer in zip(right, answers, strict=True)])
    held, turn = store.memory_bytes(), itertools.cycle(queries)
    return Case(
        lambda: store.search(next(turn), TOP),
        lambda: model.encode_text([parse(SENTENCE)]),
        f"the {TOP} best of {bench.clips} vectors by codes (recall {recall:.4f}, {held / bench.clips:.0f} bytes each)",
        "parsing and encoding the sentence; memory: 1,400 bytes a clip",
        held,
        1_400 * bench.clips,
    )


def listing(bench: Bench) -> Case:
    """A page of the list of a large library, against that of a hundred clips."""
    large, small = _stored(bench.clips).catalogue, _stored(100).catalogue
    return Case(
        lambda: [large.page(order="newest", limit=ROW), large.page(order="name", limit=ROW)],
        lambda: [small.page(order="newest", limit=ROW), small.page(order="name", limit=ROW)],
        f"{ROW} clips of {bench.clips}, the newest and by name",
        "the same of 100",
    )


def changing(bench: Bench) -> Case:
    """Adding a clip to a large library and deleting it, against a library of a hundred clips."""
    vectors = np.zeros((1, bench.model.model.flat_width), np.float32)
    frames = read_clip(bench.clip, bench.model, LimitConfig()).frames
    contents, number = ClipContents(frames, encode_frames(bench.model, frames), vectors), itertools.count(1)

    def change(library: LibraryWriter) -> None:
        library.delete(library.add(_drawn_clip(-next(number)), contents).id)

    large, small = _stored(bench.clips), _stored(100)
    return Case(
        lambda: change(large), lambda: change(small), f"one clip added to {bench.clips} and deleted", "the same of 100"
    )


def striking(bench: Bench) -> Case:
    """A word is struck out, another each time, so that a sentence is read anew."""
    return _reranking(bench, "a word is struck out", lambda n, words, plain: ({n % words, n // words % words}, plain))


def muting(bench: Bench) -> Case:
    """A concept is muted, which unrelated sentences must be compared by, too."""

    def mute(n: int, _: int, plain: TermWeights) -> tuple[set[int], TermWeights]:
        return set(), replace(plain, concepts=plain.concepts + n / 1e3, muted=(n % bench.model.model.config.concepts,))

    return _reranking(bench, "a concept is muted", mute)


def sliding(bench: Bench) -> Case:
    """A slider is moved to where it never stood."""

    def slide(n: int, _: int, plain: TermWeights) -> tuple[set[int], TermWeights]:
        return set(), replace(plain, entity=plain.entity + n / 1e3)

    return _reranking(bench, "a slider is moved", slide)


CASES: dict[str, Callable[[Bench], Case]] = {
    case.__name__: case for case in (indexing, codes, listing, changing, striking, muting, sliding)
}


# --------------------------------------------------------------------------- measuring
def select(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names``, or those of all cases where it is empty; an unknown one raises ``ConfigError``."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise ConfigError(f"Unknown bench {unknown[0]!r}; use {', '.join(CASES)}.")
    return tuple(names) or tuple(CASES)


@torch.no_grad()
def run(
    model: RetrievalModel, clip: Path, names: Sequence[str] = (), *, rounds: int = 7, clips: int = LARGE
) -> Iterator[Ratio]:
    """Measure the cases called ``names``, one after the other, each over ``rounds``."""
    model.model.eval()
    for name in select(names):
        yield measure(name, CASES[name](Bench(model, clip, clips)), rounds)


def measure(name: str, case: Case, rounds: int) -> Ratio:
    """Run ours and the baseline in turns: once to warm up, then ``rounds`` times."""
    case.ours()
    case.baseline()
    pairs = np.array([(timeit(case.ours, number=1), timeit(case.baseline, number=1)) for _ in range(rounds)])
    ratios = pairs[:, 0] / pairs[:, 1]
    memory = case.ours_bytes / case.baseline_bytes if case.baseline_bytes else None
    return Ratio(
        name,
        case.ours_is,
        case.baseline_is,
        ratio=float(np.median(ratios)),
        lowest=float(ratios.min()),
        highest=float(ratios.max()),
        seconds=float(np.median(pairs[:, 0])),
        memory=memory,
    )


def table(rows: list[Ratio]) -> str:
    """The ratios for people, a case a paragraph."""
    lines = []
    for row in rows:
        memory = "" if row.memory is None else f"; memory {row.memory:.3g}"
        lines.append(
            f"{row.name}: {row.ratio:.3g} [{row.lowest:.3g}, {row.highest:.3g}]{memory}  "
            f"({row.seconds * 1e3:.3g} ms)\n    {row.ours}\n    against {row.baseline}"
        )
    return "\n".join(lines)


def _reranking(
    bench: Bench, what: str, change: Callable[[int, int, TermWeights], tuple[set[int], TermWeights]]
) -> Case:
    """A search of a library after each ``change`` (times, words, weights) -> (struck words, weights), to none used
    before."""
    model, queries, times = bench.model, Queries(bench.model), itertools.count(1)
    rows = _rotated(_real_vectors(model)[1], np.random.default_rng(0), RERANKED, model.model.width)
    ranking, plain = Ranking(_searchable(rows), model.model), model.model.default_weights
    words = len(parse(SENTENCE).words)

    def search() -> list[dict[str, float]]:
        struck, weights = change(next(times), words, plain)
        hits = ranking.rank(queries, queries.query(SENTENCE, struck), weights, TOP).hits
        return [hit.terms for hit in hits]

    return Case(
        search,
        lambda: model.encode_text([parse(SENTENCE)]),
        f"the {TOP} best of {RERANKED} clips with their terms and confidence after {what}",
        "parsing and encoding the sentence",
    )


def _real_vectors(model: RetrievalModel) -> tuple[TextFeatures, np.ndarray]:
    """Return the shipped sentences' features, and these as vectors (N, F) without gates and weights."""
    known = model.encode_text(parse_many(null_captions()))
    return known, torch.cat([known.levels.flatten(1), known.concepts.flatten(1)], 1).cpu().numpy()


def _rotated(real: np.ndarray, rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Real vectors (N, F), each rotated towards another by a random angle, with a little noise; levels of norm 1."""
    one, other = rng.integers(len(real), size=(2, count))
    angle = rng.uniform(0, np.pi / 2, (count, 1)).astype(np.float32)
    rotated = np.cos(angle) * real[one] + np.sin(angle) * real[other]
    rotated += 0.02 * rng.standard_normal(rotated.shape, dtype=np.float32)
    levels = rotated[:, : len(LEVELS) * width].reshape(count, len(LEVELS), width)
    levels /= np.linalg.norm(levels, axis=2, keepdims=True)
    return rotated


def _drawn_clip(number: int, vectors: StoredFile | None = None) -> StoredClip:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    files = {role: StoredFile(file_name(KINDS[role][0], digest, KINDS[role][1]), 1) for role in REQUIRED}
    files |= {"vectors": vectors} if vectors else {}
    return StoredClip(
        f"{digest[:4]} {number}.mp4", f"/films/{number}.mp4", digest, 4.0, 640, 360,
        added="2026-01-01T00:00:00+00:00", number=max(number, 0), version=_VERSION.fingerprint,
        tower=_VERSION.tower, files=files,
    )  # fmt: skip


def _folder() -> Path:
    """A new folder, which goes at the end."""
    folder = Path(tempfile.mkdtemp(prefix="vtr-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _unreadable(group: int) -> tuple[np.ndarray, np.ndarray]:
    """Refuse to read a group anew, so that vectors are checked as in a library but never mended."""
    raise LibraryError(f"The vectors of clip {group} changed on disk during the measurement; run it again.")


@cache
def _stored(count: int) -> LibraryWriter:
    """A library whose catalogue holds so many clips, without their files; built once."""
    folder, clips = _folder(), [_drawn_clip(number) for number in range(1, count + 1)]
    write_database(folder, LibraryState(_VERSION, clips))
    return LibraryWriter.open(folder, _VERSION)


def _searchable(rows: np.ndarray) -> LibraryWriter:
    """A library of a clip for each of the vectors (N, F), whose other files do not exist."""
    folder, clips = _folder(), []
    (folder / KINDS["vectors"][0]).mkdir()
    for number, row in enumerate(rows, start=1):
        data = array_to_bytes(row[None])
        file = StoredFile(file_name(KINDS["vectors"][0], digest_of(data), KINDS["vectors"][1]), len(data))
        (folder / file.name).write_bytes(data)
        clips.append(_drawn_clip(number, file))
    write_database(folder, LibraryState(_VERSION, clips))
    return LibraryWriter.open(folder, _VERSION)
