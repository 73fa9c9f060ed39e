"""Do the summands of a score point at what it rests on? Deletion, insertion, and random weights.

Words, frames and patches are taken away (or put back) one share after another, in the order of the
model's own summands, of gradient x input, and at random (deletion and insertion curves: Petsiuk et al.
2018, RISE). A good order makes deletion fall early, so a small area; insertion rises early, a large one.
``perturb`` says how input is taken away. And the summands are compared with those of the same
architecture with re-drawn weights (Adebayo et al. 2018): near 0, they depend on what was learned.

Our decisions. One sentence a clip, its first of at least three words, so that the intervals are over
clips. Areas are of raw scores over the share of units: dividing by a pair's own score would blow up the
pairs that the model misses; the mean full score and the mean score of unrelated sentences stand beside
for scale. Words and frames: one stays. A point whose words no longer parse is interpolated. The parts
of the whole-sentence and whole-frame tokens belong to no word or patch; ``on_whole_tokens`` is their share.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from vtr_demo.attribution import (
    Attribution,
    agreement,
    gradient_x_input,
    on_whole_tokens,
    redrawn,
    summands,
)
from vtr_demo.checkpoint import Pretrained
from vtr_demo.corpus import Item, file_items
from vtr_demo.errors import BadConfig, BadManifest, UnreadableVideo
from vtr_demo.evaluate import open_test
from vtr_demo.features import TextFeatures, VideoFeatures
from vtr_demo.model import VTRModel, join_texts, join_videos
from vtr_demo.perturb import UNITS, Pair, open_pair, score_kept
from vtr_demo.records import Sentence

log = logging.getLogger(__name__)
FEWEST_WORDS = 3
RANDOM_ORDERS, RANDOM_MODELS = 3, 5
OURS, GRADIENT, RANDOM = "ours", "gradient_x_input", "random"
_DIRECTIONS = ("deletion", "insertion")
_RESAMPLES = 2000


# --------------------------------------------------------------------------- curves
def deletion_sets(order: np.ndarray, steps: int, least: int) -> np.ndarray:
    """(steps+1, N) bool: what is left after each step of taking away the units of ``order`` (N,), first
    to last, in even shares; ``least`` of them stay at the end."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    gone = np.round(np.linspace(0, len(order) - least, steps + 1)).astype(np.int64)
    return rank >= gone[:, None]


def curves(
    attributions: Mapping[str, np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    steps: int,
    least: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, np.ndarray]]:
    """By direction and order: the scores (steps+1,) while units go, or come, greatest attribution first.

    ``score`` gives (M,) for what is left, (M, N) bool; NaN is interpolated. Insertion is the deletion of
    the reversed order, read backwards; for random orders one therefore serves as both.
    """
    best_first = {name: np.argsort(-values, kind="stable") for name, values in attributions.items()}
    count = len(next(iter(attributions.values())))
    orders = [order for given in best_first.values() for order in (given, given[::-1])]
    orders += [rng.permutation(count) for _ in range(RANDOM_ORDERS)]
    left = np.stack([deletion_sets(order, steps, least) for order in orders])
    found = score(left.reshape(-1, count)).reshape(left.shape[:2])
    found = np.stack([_interpolated(row) for row in found])
    chance = found[2 * len(best_first) :].mean(axis=0)
    given = found[: 2 * len(best_first)].reshape(-1, 2, steps + 1)
    return {
        "deletion": {name: pair[0] for name, pair in zip(best_first, given, strict=True)} | {RANDOM: chance},
        "insertion": {name: pair[1, ::-1] for name, pair in zip(best_first, given, strict=True)}
        | {RANDOM: chance[::-1]},
    }


def _interpolated(values: np.ndarray) -> np.ndarray:
    known = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(len(values)), known, values[known])


def area(curve: np.ndarray) -> np.ndarray:
    """The area under curves (..., steps+1) over a width of 1, by trapezoids, (...): a mean score."""
    return (curve[..., 1:] + curve[..., :-1]).mean(axis=-1) / 2


def pair_curves(
    pretrained: Pretrained,
    pair: Pair,
    attributions: Mapping[str, Attribution],
    steps: int,
    seed: Sequence[int],
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """By unit, direction and order: the curves of one pair. A clip of one frame has none for frames."""
    found = {}
    for unit in UNITS:
        given = {name: values[unit] for name, values in attributions.items()}
        least = 0 if unit == "patches" else 1
        if len(given[OURS]) > least:
            rng = np.random.default_rng([*seed, UNITS.index(unit)])
            found[unit] = curves(given, partial(score_kept, pretrained, pair, unit), steps, least, rng)
    return found


# --------------------------------------------------------------------------- the report
def faithfulness(
    pretrained: Pretrained,
    data: str,
    *,
    split: str = "test",
    kind: str = "",
    limit: int | None = None,
    steps: int = 6,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Any]:
    """Both checks over the matched pairs of a manifest, or over ``limit`` of them drawn by ``seed``.

    ``kind`` keeps only rows of that kind. Intervals: 95 %, paired bootstrap over the pairs.
    """
    if steps < 1 or seed < 0:
        raise BadConfig(f"Faithfulness needs at least 1 step and a seed from 0, got {steps} and {seed}.")
    dataset = open_test(data, split=split, annotations=None, videos=None, kind=kind)
    items = file_items(dataset, pretrained.video)
    asked = matched_pairs(items, limit, seed)
    if not asked:
        raise BadManifest(
            f"{dataset.name} has no caption of at least {FEWEST_WORDS} words; without some there is "
            "no order of words to test."
        )
    others = [redrawn(pretrained.model, seed + i) for i in range(RANDOM_MODELS)]
    texts: list[TextFeatures] = []
    videos: list[VideoFeatures] = []
    spoken: list[str] = []
    rows: list[dict[str, Any]] = []
    for number, (item, sentence) in enumerate(asked):
        if progress:
            progress(number / len(asked), f"pair {number + 1} of {len(asked)}")
        try:
            frames = item.frames(pretrained.video.clip_frames, pretrained.backbone.frame_size)
        except UnreadableVideo as error:
            log.warning("%s", error)
            continue
        pair = open_pair(pretrained, sentence, frames)
        texts.append(pair.text_features)
        videos.append(pair.video_features)
        spoken.append(sentence.text)
        rows.append(_measured(pretrained, pair, others, steps, (seed, number)))
    if not rows:
        raise UnreadableVideo(dataset.name, "none of its clips can be read", "check the folder of videos")
    scale = _scale(pretrained.model, join_texts(texts), join_videos(videos), spoken)
    return {
        "model": pretrained.spec,
        "data": dataset.name,
        "kind": kind or "all",
        "pairs": len(rows),
        "clips_without_a_long_sentence": len(items) - len(matched_pairs(items, None, seed)),
        "unreadable_clips": len(asked) - len(rows),
        "steps": steps,
        "seed": seed,
        **scale,
        "better": {"deletion": "smaller area", "insertion": "larger area", "random_weights": "near 0"},
        "on_whole_tokens": {u: float(np.mean([r["whole"][u] for r in rows])) for u in ("words", "patches")},
        "curves": {
            unit: _unit_summary([r["curves"][unit] for r in rows if unit in r["curves"]], seed)
            for unit in UNITS
        },
        "random_weights": {"models": RANDOM_MODELS}
        | _agreement_summary([r["agreement"] for r in rows], seed),
    }


def matched_pairs(items: Sequence[Item], limit: int | None, seed: int) -> list[tuple[Item, Sentence]]:
    """Each clip with its first sentence that is long enough; at most ``limit`` of them, drawn by ``seed``."""
    long = [(i, [s for s in i.sentences if len(s.words) >= FEWEST_WORDS]) for i in items]
    pairs = [(item, sentences[0]) for item, sentences in long if sentences]
    if limit is None or limit >= len(pairs):
        return pairs
    chosen = np.random.default_rng(seed).choice(len(pairs), limit, replace=False)
    return [pairs[i] for i in sorted(chosen)]


def _measured(
    pretrained: Pretrained, pair: Pair, others: Sequence[VTRModel], steps: int, seed: Sequence[int]
) -> dict[str, Any]:
    alignments = [
        model.align(pair.sentence, pair.text, pair.video, pair.frames.seconds)
        for model in (pretrained.model, *others)
    ]
    own, *drawn = (summands(alignment) for alignment in alignments)
    given = {OURS: own, GRADIENT: gradient_x_input(pretrained.model, pair)}
    return {
        "curves": pair_curves(pretrained, pair, given, steps, seed),
        "whole": on_whole_tokens(alignments[0]),
        "agreement": [agreement(own, other) for other in drawn],
    }


def _scale(
    model: VTRModel, texts: TextFeatures, videos: VideoFeatures, spoken: Sequence[str]
) -> dict[str, float | None]:
    """The mean score of the matched pairs, and of their clips with each other's sentences."""
    scores = model.scores(texts, videos).double().cpu().numpy()
    said = np.array(spoken)
    other = said[:, None] != said
    return {
        "full_score": float(np.diag(scores).mean()),
        "unrelated_score": float(scores[other].mean()) if other.any() else None,
    }


def _unit_summary(found: Sequence[dict[str, dict[str, np.ndarray]]], seed: int) -> dict[str, Any]:
    """Mean curves and areas of one unit, and the paired differences of the areas."""
    answer: dict[str, Any] = {"pairs": len(found)}
    for direction in _DIRECTIONS if found else ():
        tables = {n: np.stack([row[direction][n] for row in found]) for n in (OURS, GRADIENT, RANDOM)}
        areas = {name: area(table) for name, table in tables.items()}
        answer[direction] = {
            name: {"area": float(areas[name].mean()), "curve": table.mean(axis=0).tolist()}
            for name, table in tables.items()
        } | {
            f"{OURS}_minus_{name}": mean_and_interval(areas[OURS] - areas[name], seed)
            for name in (RANDOM, GRADIENT)
        }
    return answer


def _agreement_summary(found: Sequence[Sequence[dict[str, dict[str, float]]]], seed: int) -> dict[str, Any]:
    """A pair's value is its mean over the random models."""
    return {
        unit: {
            sign: mean_and_interval(np.array([np.mean([m[unit][sign] for m in row]) for row in found]), seed)
            for sign in ("signed", "absolute")
        }
        for unit in ("words", "patches")
    }


def mean_and_interval(values: np.ndarray, seed: int) -> dict[str, Any]:
    """The mean of (pairs,) and its 95 % percentile bootstrap interval; NaN is left out, and None is
    the mean of nothing and the interval of a single value."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {"mean": None, "interval_95": None, "pairs": 0}
    drawn = np.random.default_rng(seed).integers(len(known), size=(_RESAMPLES, len(known)))
    edges = np.quantile(known[drawn].mean(axis=1), (0.025, 0.975)).tolist() if len(known) > 1 else None
    return {"mean": float(known.mean()), "interval_95": edges, "pairs": len(known)}
