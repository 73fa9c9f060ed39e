"""Do moments find what a long clip shows in passing? Films joined from captioned clips, whose truth is known.

Clips in random order become films of so many each. Every caption then asks which film holds its clip, by the
vectors that a library searches and by the whole films' alone, and which moment of that film it fits best.
A moment is right when its middle lies inside the caption's clip; by chance it is as often right as moments
lie there. A film is read as a file would be, at the seconds of its plan, and its cuts have to be found.
Confidence is measured on the same films (``calibration``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from vtr_demo.calibration import ask_given, ask_halves, summary
from vtr_demo.checkpoint import Pretrained
from vtr_demo.clipfolder import Moment
from vtr_demo.data import Clip, load_dataset
from vtr_demo.errors import BadConfig
from vtr_demo.ingest import flat_vectors, parts_of, understood
from vtr_demo.metrics import interval, summarize, text_to_video
from vtr_demo.moments import fused, plan_frames
from vtr_demo.nullset import null_captions
from vtr_demo.queries import Queries
from vtr_demo.records import FrameBatch, Sentence
from vtr_demo.text import parse_many, parse_readable
from vtr_demo.video import probe, read_frames

LONGEST_S = 10.0
"""What is taken of a clip at most, from its beginning."""


@dataclass(frozen=True)
class Film:
    """Clips one after the other. ``borders``: the seconds at which they begin, and the end of the last."""

    clips: tuple[Clip, ...]
    borders: tuple[float, ...]

    def spans(self, text: str) -> list[tuple[float, float]]:
        """Where the clips of a caption lie, in seconds."""
        spans = zip(self.clips, self.borders, self.borders[1:], strict=False)
        return [(start, end) for clip, start, end in spans if text in clip.captions]


def moment_quality(
    pretrained: Pretrained,
    data: str,
    *,
    split: str = "test",
    kind: str = "",
    clips: int = 7,
    nothing: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Any]:
    """Recall of films, accuracy of moments and reliability of the confidence (percent), with 95 % bootstrap
    intervals over the captions.

    ``data`` is a manifest, ``kind`` keeps rows of that kind, ``clips`` is how many make a film; what is left
    over makes none. ``nothing`` are queries about nothing in the films; without any the shipped sentences
    ask, half of them at a time. Raises ``BadConfig`` where the data do not make two films.
    """
    films = join(_clips(data, split, kind), clips, np.random.default_rng(seed))
    if len(films) < 2:
        raise BadConfig(
            f"{data} holds too few clips for two films of {clips}; lower --clips or name other data."
        )
    sentences, others = _captions(films), parse_many(tuple(dict.fromkeys(nothing)))
    flat = partial(Queries(pretrained).flat, weights=pretrained.model.default_weights)
    asked, shipped = flat(sentences), flat(parse_many(null_captions()))
    groups, beside = _groups(films, sentences), flat(others) if others else None
    seen = []
    for i, film in enumerate(films):
        if progress:
            progress(i / len(films), f"film {i + 1} of {len(films)}")
        seen.append(_read(pretrained, film))
    wholes, rows = np.stack([vectors[0] for vectors, _ in seen]), [fused(vectors) for vectors, _ in seen]
    searched = {"whole": wholes, "moments": np.concatenate(rows)}
    columns = [asked @ own.T for own in rows]
    return {
        **_recall(films, sentences, asked @ wholes.T, columns, [moments for _, moments in seen]),
        "confidence": {
            name: _confidence(
                asked @ own.T, groups, shipped @ own.T, None if beside is None else beside @ own.T, seed
            )
            for name, own in searched.items()
        },
        "asked_about_nothing": "given" if others else "shipped",
        "films": len(films),
        "texts": len(sentences),
        "moments_a_film": float(np.mean([len(moments) for _, moments in seen])),
        "seconds_a_film": float(np.mean([film.borders[-1] for film in films])),
        "clips_a_film": clips,
        "seed": seed,
        "kind": kind or "all",
        "data": data,
        "model": pretrained.spec,
    }


def _captions(films: Sequence[Film]) -> list[Sentence]:
    """What is said of the films' clips, each once."""
    texts = list(dict.fromkeys(text for film in films for clip in film.clips for text in clip.captions))
    return [sentence for sentence in parse_readable(texts) if sentence is not None]


def _groups(films: Sequence[Film], sentences: Sequence[Sentence]) -> np.ndarray:
    """The first clip that each sentence is said of, by number."""
    clips = [clip for film in films for clip in film.clips]
    return np.array([next(i for i, clip in enumerate(clips) if s.text in clip.captions) for s in sentences])


def _recall(
    films: Sequence[Film],
    sentences: Sequence[Sentence],
    whole: np.ndarray,
    columns: Sequence[np.ndarray],
    moments: Sequence[tuple[Moment, ...]],
) -> dict[str, Any]:
    """Is the film found, by the scores ``whole`` (texts, films) and by each film's ``columns`` (texts, M), of
    what a library searches, and the right moment in it?"""
    positives = np.array([[bool(film.spans(s.text)) for film in films] for s in sentences])
    tables = {"whole": whole, "moments": np.stack([own.max(axis=1) for own in columns], axis=1)}
    ranks = {name: text_to_video(table, positives) for name, table in tables.items()}
    right, chance = [], []
    for film, own, column, shown in zip(films, moments, columns, positives.T, strict=True):
        for row in np.flatnonzero(shown).tolist():
            inside = hits(own, film, sentences[row].text)
            right.append(inside[int(column[row].argmax())])
            chance.append(inside.mean())
    found = np.where(right, 1.0, 2.0)  # as ranks: the bootstrap's R@1 is the share that is right
    return {
        **{name: summarize(rank) | {"interval_95": interval(rank)} for name, rank in ranks.items()},
        "right_moment": 100 * float(np.mean(right)),
        "right_moment_interval_95": interval(found)["R@1"],
        "right_moment_by_chance": 100 * float(np.mean(chance)),
    }


def _confidence(
    scores: np.ndarray, groups: np.ndarray, null: np.ndarray, others: np.ndarray | None, seed: int
) -> dict[str, Any]:
    """How reliable the p-values are, as in ``calibration``; without ``others`` the null asks by halves."""
    if others is None:
        return summary(ask_halves(scores, groups, null), seed=seed)
    return summary(ask_given(scores, groups, null, others), seed=seed)


def join(clips: Sequence[Clip], count: int, rng: np.random.Generator) -> list[Film]:
    """Films of ``count`` clips each, in random order; each clip is in one film at most."""
    order = [clips[i] for i in rng.permutation(len(clips))]
    films = []
    for start in range(0, len(order) - count + 1, count):
        chosen = tuple(order[start : start + count])
        films.append(Film(chosen, (0.0, *accumulate(map(_seconds, chosen)))))
    return films


def hits(moments: Sequence[Moment], film: Film, text: str) -> np.ndarray:
    """(M,) bool: whether the middle of each moment lies in a clip that ``text`` belongs to. A film without
    moments is one that lasts as long as it does."""
    spans = film.spans(text)
    ends = [(m.start_s, m.end_s) for m in moments] or [(0.0, film.borders[-1])]
    return np.array([any(low <= (a + b) / 2 < high for low, high in spans) for a, b in ends])


def _clips(data: str, split: str, kind: str) -> list[Clip]:
    found = load_dataset(data, split=split).clips
    return [clip for clip in found if clip.kind != "image" and kind in ("", clip.kind)]


def _seconds(clip: Clip) -> float:
    start = clip.start_s or 0.0
    end = min(clip.end_s or LONGEST_S + start, probe(clip.path).duration_s, LONGEST_S + start)
    return max(0.0, end - start)


def _read(pretrained: Pretrained, film: Film) -> tuple[np.ndarray, tuple[Moment, ...]]:
    """The film's vectors (1+M, F), the whole first, and its moments."""
    duration = film.borders[-1]
    plan = plan_frames(duration, pretrained.video)
    tokens, moments = understood(_frames(film, plan.seconds, pretrained), plan, duration, pretrained)
    return flat_vectors(pretrained, tokens, parts_of(plan.whole, moments)), moments


def _frames(film: Film, seconds: Sequence[float], pretrained: Pretrained) -> FrameBatch:
    """The frames that the joined film would show at ``seconds``."""
    parts = []
    places = np.searchsorted(film.borders, seconds, side="right") - 1
    for i, clip in enumerate(film.clips):
        local = [s - film.borders[i] + (clip.start_s or 0.0) for s in np.array(seconds)[places == i]]
        if local:
            size = pretrained.backbone.frame_size
            parts.append(read_frames(clip.path, local, size=size, config=pretrained.video))
    pixels = np.concatenate([part.pixels for part in parts])
    return FrameBatch(pixels, np.array(seconds), parts[0].crop, film.borders[-1])
