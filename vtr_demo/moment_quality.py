"""Do moments find what a long clip shows in passing? Films joined from captioned clips, whose truth is known.

Clips in random order become films of so many each. Every caption then asks which film holds its clip, by the
vectors that a library searches and by the whole films' alone, and which moment of that film it fits best.
A moment is right when its middle lies inside the caption's clip; by chance it is as often right as moments
lie there. A film is read as a file would be, at the seconds of its plan, and its cuts have to be found.
Confidence is measured on the same films (``calibration``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    asked = _flat(pretrained, sentences)
    seen = []
    for i, film in enumerate(films):
        if progress:
            progress(i / len(films), f"film {i + 1} of {len(films)}")
        seen.append(_read(pretrained, film))
    searched = {
        "whole": np.stack([vectors[0] for vectors, _ in seen]),
        "moments": np.concatenate([fused(vectors) for vectors, _ in seen]),
    }
    return {
        **_recall(films, sentences, asked, searched, [moments for _, moments in seen]),
        "confidence": _confidence(pretrained, _groups(films, sentences), asked, searched, others, seed),
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
    asked: np.ndarray,
    searched: Mapping[str, np.ndarray],
    moments: Sequence[tuple[Moment, ...]],
) -> dict[str, Any]:
    """Is the film found, by whole films and by all that a library searches, and the right moment in it?"""
    positives = np.array([[bool(film.spans(s.text)) for film in films] for s in sentences])
    scores = asked @ searched["moments"].T
    ends = np.cumsum([max(1, len(own)) for own in moments])
    columns = np.split(scores, ends[:-1], axis=1)
    tables = {
        "whole": asked @ searched["whole"].T,
        "moments": np.stack([own.max(axis=1) for own in columns], axis=1),
    }
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
    pretrained: Pretrained,
    groups: np.ndarray,
    asked: np.ndarray,
    searched: Mapping[str, np.ndarray],
    others: Sequence[Sentence],
    seed: int,
) -> dict[str, Any]:
    """How reliable the p-values are, by the whole films alone and by all that a library searches."""
    shipped = _flat(pretrained, parse_many(null_captions()))
    beside = _flat(pretrained, others) if others else None
    found = {}
    for name, vectors in searched.items():
        scores, null = asked @ vectors.T, shipped @ vectors.T
        if beside is None:
            answers = ask_halves(scores, groups, null)
        else:
            answers = ask_given(scores, groups, null, beside @ vectors.T)
        found[name] = summary(answers, seed=seed)
    return found


def _flat(pretrained: Pretrained, sentences: Sequence[Sentence]) -> np.ndarray:
    """(N, F): the text side of the score."""
    return pretrained.encode_text(list(sentences)).flat(pretrained.model.default_weights).cpu().numpy()


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
