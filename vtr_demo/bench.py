"""Speed and memory as ratios to named baselines, measured in turns within one run.

A number of seconds says as much about the machine as about the program; how often a plain way of doing
the same fits into it does not. Each case runs ours and its baseline alternately, once to warm up and then
``rounds`` times; the ratio is the median over the rounds, beside the lowest and the highest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np
import torch

from vtr_demo.errors import ConfigError
from vtr_demo.library.index import FaissVectors, VectorStore, member_ids
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.structures import FrameBatch, Sentence, VideoTokens, term_sums
from vtr_demo.text.parser import parse
from vtr_demo.video.frames import read_frames

VECTORS, TOP = 20_000, 10
"""A library of about 5,000 clips with moments, and the hits that a search asks for."""
SENTENCE = "a dog runs after a ball while a cat sleeps on the sofa"


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
    """What the cases share: a model, one clip and what it holds."""

    model: RetrievalModel
    clip: Path

    def frames(self) -> FrameBatch:
        """The frames that the model sees of the clip."""
        video = self.model.video
        return read_frames(self.clip, video.clip_frames, size=self.model.backbone.frame_size, config=video)

    def tokens(self) -> VideoTokens:
        """The towers' tokens of the clip."""
        return self.model.backbone.encode_frames(self.frames().pixels)

    def sentence(self) -> Sentence:
        """One sentence with all four levels."""
        return parse(SENTENCE)


# --------------------------------------------------------------------------- cases
def decoding(bench: Bench) -> Case:
    """Seeking to the wanted frames, against decoding the file from end to end."""
    wanted = bench.frames().pixels
    whole = sum(picture.nbytes for picture in _every_frame(bench.clip))
    return Case(
        bench.frames,
        lambda: sum(1 for _ in _every_frame(bench.clip)),
        f"the {len(wanted)} frames that the model sees",
        "every frame of the file in order",
        wanted.nbytes,
        whole,
    )


def heads(bench: Bench) -> Case:
    """What levels and concepts cost, against the towers that they stand on."""
    pixels, tokens = bench.frames().pixels, bench.tokens()
    return Case(
        lambda: bench.model.model.encode_video(tokens),
        lambda: bench.model.backbone.encode_frames(pixels),
        "levels and concepts of a clip from its tokens",
        "the towers on the clip's frames",
    )


def reading(bench: Bench) -> Case:
    """A query's way to its vector, against the text tower alone."""
    model, sentence = bench.model, bench.sentence()
    return Case(
        lambda: model.encode_text([parse(SENTENCE)]),
        lambda: model.backbone.encode_text([sentence]),
        "parsing a sentence, reading it, levels and concepts",
        "the text tower on the parsed sentence",
    )


def searching(bench: Bench) -> Case:
    """The index, against a plain product and partial sort; memory against a CLIP vector a clip."""
    index, vectors, query = _library(bench)

    def plain() -> np.ndarray:
        scores = vectors @ query[0]
        best = np.argpartition(-scores, TOP)[:TOP]
        return best[np.argsort(-scores[best])]

    return Case(
        lambda: index.search(query[0], TOP),
        plain,
        f"the {TOP} best of {VECTORS} vectors by the index",
        "the same by NumPy; memory: a CLIP vector of 512 numbers each",
        vectors.nbytes,
        VECTORS * 512 * vectors.itemsize,
    )


def reasons(bench: Bench) -> Case:
    """Hits with their five terms, against hits with a score alone."""
    index, _, query = _library(bench)
    width = bench.model.model.width

    def with_terms() -> list[dict[str, float]]:
        found = index.search(query[0], TOP)
        return [term_sums(query[0], vector, width) for vector in found.vectors]

    return Case(
        with_terms,
        lambda: index.search(query[0], TOP),
        f"{TOP} hits, each with its five terms",
        f"{TOP} hits with a score alone",
    )


def explaining(bench: Bench) -> Case:
    """Every (word, frame, patch) summand, against the score alone."""
    model, sentence, tokens = bench.model.model, bench.sentence(), bench.tokens()
    text, seconds = bench.model.backbone.encode_text([sentence]), bench.frames().seconds
    return Case(
        lambda: model.align(sentence, text, tokens, seconds),
        lambda: model.scores(model.encode_text(text), model.encode_video(tokens)),
        "a score with every word, frame and patch",
        "the score alone",
    )


CASES: dict[str, Callable[[Bench], Case]] = {
    "decoding": decoding,
    "heads": heads,
    "reading": reading,
    "searching": searching,
    "reasons": reasons,
    "explaining": explaining,
}


# --------------------------------------------------------------------------- measuring
def select(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names``, or those of all cases where it is empty; an unknown one raises ``ConfigError``."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise ConfigError(f"Unknown bench {unknown[0]!r}; use {', '.join(CASES)}.")
    return tuple(names) or tuple(CASES)


@torch.no_grad()
def run(model: RetrievalModel, clip: Path, names: Sequence[str] = (), *, rounds: int = 7) -> Iterator[Ratio]:
    """Measure the cases called ``names``, one after the other, each over ``rounds``."""
    model.model.eval()
    for name in select(names):
        yield measure(name, CASES[name](Bench(model, clip)), rounds)


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


def _every_frame(path: Path) -> Iterator[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _library(bench: Bench) -> tuple[VectorStore, np.ndarray, np.ndarray]:
    """An index of random unit vectors (N, F), the vectors, and one query (1, F)."""
    flat = bench.model.encode_text([bench.sentence()]).flat(bench.model.model.default_weights)
    query = np.ascontiguousarray(flat.cpu().numpy())
    vectors = np.random.default_rng(0).standard_normal((VECTORS, query.shape[1]), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = FaissVectors(vectors.shape[1])
    for number, vector in enumerate(vectors):
        store.add(member_ids(number, [0]), vector[None], np.zeros(1, np.int64))
    return store, vectors, query
