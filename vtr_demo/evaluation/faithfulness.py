"""Measure whether the summands of a score point at what it rests on: deletion, insertion, random weights.

Words, frames and patches are deleted (or inserted) one share after another, in the order of the model's
own summands and at random (deletion and insertion curves: Petsiuk et al. 2018, RISE). A good order makes
deletion fall early, so a small area; insertion rises early, a large one. And the summands are compared
with those of the same architecture with randomised weights (Adebayo et al. 2018): near 0, they depend on
what was learned.

Our decisions. One sentence a clip, its first of at least three words, so that the intervals are over
clips. Areas are of raw scores over the share of units: dividing by a pair's own score would blow up the
pairs that the model misses; the mean full score and the mean score of unrelated sentences stand beside
for scale. One word and one frame always stay. A point whose words no longer parse is interpolated. The
parts of the whole-sentence and whole-frame tokens belong to no word or patch; ``on_whole_tokens`` is
their share.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from vtr_demo.data.dataset import file_samples
from vtr_demo.errors import ConfigError, ManifestError, TextError, VideoError
from vtr_demo.evaluation.evaluate import open_test
from vtr_demo.evaluation.metrics import bootstrap
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.model import VTRModel, join_texts, join_videos
from vtr_demo.structures import (
    Alignment,
    FrameBatch,
    Sentence,
    TextFeatures,
    TextTokens,
    VideoFeatures,
    VideoTokens,
    pad_video_tokens,
)
from vtr_demo.text.parser import parse, without_words

UNITS = ("words", "frames", "patches")
"""What can be deleted. A patch is one cell of one frame, numbered frame by frame and row by row."""
OURS, RANDOM = "ours", "random"
FEWEST_WORDS = 3
RANDOM_ORDERS, RANDOM_MODELS = 3, 5

Attribution = dict[str, np.ndarray]
"""A value (N,) for each word, frame and patch of a pair, by unit."""
Curves = dict[str, dict[str, np.ndarray]]
"""Scores (steps+1,) by direction (deletion, insertion) and order (ours, random)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A sentence and the frames of its clip, with both sides' tokens and features, batches of one.

    The patch tokens have the width that the heads take.
    """

    sentence: Sentence
    frames: FrameBatch
    text: TextTokens
    video: VideoTokens
    text_features: TextFeatures
    video_features: VideoFeatures


@torch.no_grad()
def encode_pair(trained: RetrievalModel, sentence: Sentence, frames: FrameBatch) -> Pair:
    """Encode a sentence and a clip."""
    model = trained.model
    text = trained.backbone.encode_text([sentence])
    video = model.reduced(trained.backbone.encode_frames(frames.pixels))
    return Pair(sentence, frames, text, video, model.encode_text(text), model.encode_video(video))


# --------------------------------------------------------------------------- scores of what is left
@torch.no_grad()
def score_kept(trained: RetrievalModel, pair: Pair, unit: str, kept: np.ndarray) -> np.ndarray:
    """Return scores (M,) of a pair of which only ``kept`` (M, N) bool of its N units are left.

    At least one word or frame a row; default weights. Equal rows are scored once. NaN where the words
    left are no sentence that the parser takes.
    """
    rows, back = np.unique(kept, axis=0, return_inverse=True)
    score = {"words": _score_words, "frames": _score_frames, "patches": _score_patches}[unit]
    return score(trained, pair, rows)[back.reshape(-1)]


def _score_words(trained: RetrievalModel, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The sentence without the other words, parsed anew: its levels may change with it."""
    shorter = {}
    for row, mask in enumerate(kept):
        try:
            shorter[row] = parse(without_words(pair.sentence, np.flatnonzero(~mask).tolist()))
        except TextError:
            continue
    scores = np.full(len(kept), np.nan)
    if shorter:
        features = trained.model.encode_text(trained.backbone.encode_text([*shorter.values()]))
        scores[[*shorter]] = trained.model.scores(features, pair.video_features)[:, 0].cpu().numpy()
    return scores


def _score_frames(trained: RetrievalModel, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The clip with the other frames cut out.

    Image towers read each frame alone, so that its tokens stay; the heads' differences between
    neighbouring frames do not.
    """
    shorter = pad_video_tokens([pair.video.take(np.flatnonzero(mask).tolist()) for mask in kept])
    video = trained.model.encode_video(shorter)
    return trained.model.scores(pair.text_features, video)[0].cpu().numpy()


def _score_patches(trained: RetrievalModel, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The clip with the other cells painted over, through the image tower again."""
    model, scores = trained.model, np.empty(len(kept))
    for row, mask in enumerate(kept):
        pixels = paint_over(pair.frames.pixels, mask, pair.video.grid)
        video = model.encode_video(trained.backbone.encode_frames(pixels))
        scores[row] = float(model.scores(pair.text_features, video)[0, 0])
    return scores


def paint_over(pixels: np.ndarray, kept: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return pixels (T, H, W, 3) uint8 whose cells not ``kept`` (T*P,) bool have the clip's mean colour.

    Our decision: one flat colour, as black would add darkness and a blur would leave what is large. No
    tower has been trained on such pictures, which is the known weakness of all such curves; the random
    order suffers from it alike, so read the differences.
    """
    frames, height, width = pixels.shape[:3]
    rows, columns = (np.arange(side) * cells // side for side, cells in zip((height, width), grid, strict=True))
    shown = kept.reshape(frames, *grid)[:, rows][:, :, columns]
    colour = pixels.mean(axis=(0, 1, 2)).round().astype(np.uint8)
    return np.where(shown[..., None], pixels, colour)


# --------------------------------------------------------------------------- attributions
def summands(alignment: Alignment) -> Attribution:
    """Return what each word, frame and patch adds to the score, all terms together."""
    parts = alignment.all_terms().sum(axis=0, dtype=np.float64)  # (1+W, T, 1+P)
    return {
        "words": parts[1:].sum(axis=(1, 2)),
        "frames": parts.sum(axis=(0, 2)),
        "patches": parts[:, :, 1:].sum(axis=0).reshape(-1),
    }


def on_whole_tokens(alignment: Alignment) -> dict[str, float]:
    """Return the share of all contributions (by size) on the whole sentence, and on whole frames."""
    parts = alignment.all_terms().sum(axis=0, dtype=np.float64)
    by_word, by_place = np.abs(parts.sum(axis=(1, 2))), np.abs(parts.sum(axis=0))
    return {
        "words": float(by_word[0] / max(by_word.sum(), 1e-12)),
        "patches": float(by_place[:, 0].sum() / max(by_place.sum(), 1e-12)),
    }


def randomised(model: VTRModel, seed: int) -> VTRModel:
    """Return the same architecture with every parameter drawn from a normal of its trained mean and spread.

    A matrix without a spread (zero-initialised, never trained) gets 1 / sqrt(fan in), a single number its
    own size. Buffers (the principal directions and the mean tokens) stay: they are statistics of tokens.
    """
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            values = parameter.detach().float().cpu()
            mean, spread = values.mean(), values.std(correction=0)
            if values.numel() == 1:
                mean, spread = torch.zeros(()), values.abs().max()
            elif spread == 0 and values.ndim > 1:
                spread = torch.tensor(values[0].numel() ** -0.5)
            parameter.copy_(mean + spread * torch.randn(values.shape, generator=generator))
    return other


def agreement(first: Attribution, second: Attribution) -> dict[str, dict[str, float]]:
    """Return Spearman's rank correlation of the word and patch attributions, NaN where one is constant.

    `signed` as they are, and `absolute` by size (both in Adebayo et al.: a map that only changed its
    sign would look unrelated in the first).
    """
    from scipy.stats import spearmanr

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(spearmanr(a, b).statistic) if min(np.ptp(a), np.ptp(b)) > 0 else float("nan")

    return {
        unit: {
            "signed": correlation(first[unit], second[unit]),
            "absolute": correlation(np.abs(first[unit]), np.abs(second[unit])),
        }
        for unit in ("words", "patches")
    }


# --------------------------------------------------------------------------- curves
def deletion_masks(order: np.ndarray, steps: int, least: int) -> np.ndarray:
    """Return (steps+1, N) bool: the units left after each step of deleting ``order`` (N,) in even shares.

    ``least`` of them stay at the end.
    """
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    gone = np.round(np.linspace(0, len(order) - least, steps + 1)).astype(np.int64)
    return rank >= gone[:, None]


def curves(
    values: np.ndarray, score: Callable[[np.ndarray], np.ndarray], steps: int, least: int, rng: np.random.Generator
) -> Curves:
    """Return, by direction and order, the scores (steps+1,), the greatest of ``values`` (N,) first.

    ``score`` gives (M,) for the units left, (M, N) bool; NaN is interpolated. Insertion is the deletion
    of the reversed order, read backwards; for random orders one therefore serves as both.
    """
    first = np.argsort(-values, kind="stable")
    orders = [first, first[::-1], *(rng.permutation(len(values)) for _ in range(RANDOM_ORDERS))]
    left = np.stack([deletion_masks(order, steps, least) for order in orders])
    scores = score(left.reshape(-1, len(values))).reshape(left.shape[:2]).astype(np.float64)
    points = np.arange(steps + 1)
    for row in scores:
        known = ~np.isnan(row)
        row[:] = np.interp(points, points[known], row[known])
    chance = scores[2:].mean(axis=0)
    return {"deletion": {OURS: scores[0], RANDOM: chance}, "insertion": {OURS: scores[1, ::-1], RANDOM: chance[::-1]}}


def area(curve: np.ndarray) -> np.ndarray:
    """Return the area under curves (..., steps+1) over a width of 1, by trapezoids, (...): a mean score."""
    return (curve[..., 1:] + curve[..., :-1]).mean(axis=-1) / 2


def pair_curves(
    trained: RetrievalModel, pair: Pair, attribution: Attribution, steps: int, seed: Sequence[int]
) -> dict[str, Curves]:
    """Return the curves of one pair by unit; a clip of one frame has none for frames."""
    result = {}
    for number, unit in enumerate(UNITS):
        least = 0 if unit == "patches" else 1
        if len(attribution[unit]) > least:
            rng = np.random.default_rng([*seed, number])
            score = partial(score_kept, trained, pair, unit)
            result[unit] = curves(attribution[unit], score, steps, least, rng)
    return result


# --------------------------------------------------------------------------- the report
def faithfulness(
    trained: RetrievalModel,
    data: str,
    *,
    kind: str = "",
    limit: int | None = None,
    steps: int = 6,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Any]:
    """Report both checks over the matched pairs of a manifest, or over ``limit`` of them drawn by ``seed``.

    ``kind`` keeps only rows of that kind. Intervals: 95 %, paired bootstrap over the pairs.
    """
    if steps < 1 or seed < 0:
        raise ConfigError(f"Faithfulness needs at least 1 step and a seed from 0, got {steps} and {seed}.")
    dataset = open_test(data, kind=kind)
    items = file_samples(dataset, trained.video)
    long = [(i, s) for i in items if (s := next((s for s in i.sentences if len(s.words) >= FEWEST_WORDS), None))]
    if not long:
        raise ManifestError(
            f"{dataset.name} has no caption of at least {FEWEST_WORDS} words; without some there is "
            "no order of words to test."
        )
    drawn = long
    if limit is not None and limit < len(long):
        drawn = [long[i] for i in sorted(np.random.default_rng(seed).choice(len(long), limit, replace=False))]
    models = (trained.model, *(randomised(trained.model, seed + i) for i in range(RANDOM_MODELS)))
    pairs: list[Pair] = []
    rows: list[dict[str, Any]] = []
    for number, (item, sentence) in enumerate(drawn):
        if progress:
            progress(number / len(drawn), f"pair {number + 1} of {len(drawn)}")
        try:
            frames = item.frames(trained.video.clip_frames, trained.backbone.frame_size)
        except VideoError as error:
            log.warning("%s", error)
            continue
        pair = encode_pair(trained, sentence, frames)
        alignments = [model.align(sentence, pair.text, pair.video, frames.seconds) for model in models]
        own, *others = (summands(alignment) for alignment in alignments)
        agreements = [agreement(own, other) for other in others]
        pairs.append(replace(pair, frames=frames.take([0])))  # pixels are no longer needed
        rows.append(
            {
                "curves": pair_curves(trained, pair, own, steps, (seed, number)),
                "whole": on_whole_tokens(alignments[0]),
                "agreement": agreements,
            }
        )
    if not rows:
        raise VideoError(dataset.name, "none of its clips can be read", "check the folder of videos")
    return {
        "model": trained.spec,
        "data": dataset.name,
        "kind": kind or "all",
        "pairs": len(rows),
        "clips_without_a_long_sentence": len(items) - len(long),
        "unreadable_clips": len(drawn) - len(rows),
        "steps": steps,
        "seed": seed,
        **_scale(trained.model, pairs),
        "better": {"deletion": "smaller area", "insertion": "larger area", "random_weights": "near 0"},
        "on_whole_tokens": {u: float(np.mean([r["whole"][u] for r in rows])) for u in ("words", "patches")},
        "curves": {
            unit: _summarize_curves([row["curves"][unit] for row in rows if unit in row["curves"]], seed)
            for unit in UNITS
        },
        "random_weights": {"models": RANDOM_MODELS}
        | {  # a pair's value is its mean over the random models
            unit: {
                sign: mean_and_interval(
                    np.array([np.mean([one[unit][sign] for one in row["agreement"]]) for row in rows]), seed
                )
                for sign in ("signed", "absolute")
            }
            for unit in ("words", "patches")
        },
    }


def _scale(model: VTRModel, pairs: Sequence[Pair]) -> dict[str, float | None]:
    """The mean score of the matched pairs, and of their clips with each other's sentences."""
    texts, videos = (join_texts([p.text_features for p in pairs]), join_videos([p.video_features for p in pairs]))
    scores = model.scores(texts, videos).double().cpu().numpy()
    sentences = np.array([pair.sentence.text for pair in pairs])
    unrelated = sentences[:, None] != sentences
    return {
        "full_score": float(np.diag(scores).mean()),
        "unrelated_score": float(scores[unrelated].mean()) if unrelated.any() else None,
    }


def _summarize_curves(rows: Sequence[Curves], seed: int) -> dict[str, Any]:
    """Mean curves and areas of one unit, and the paired differences of the areas."""
    answer: dict[str, Any] = {"pairs": len(rows)}
    for direction in ("deletion", "insertion") if rows else ():
        tables = {name: np.stack([row[direction][name] for row in rows]) for name in (OURS, RANDOM)}
        areas = {name: area(table) for name, table in tables.items()}
        answer[direction] = {
            name: {"area": float(areas[name].mean()), "curve": table.mean(axis=0).tolist()}
            for name, table in tables.items()
        }
        answer[direction]["ours_minus_random"] = mean_and_interval(areas[OURS] - areas[RANDOM], seed)
    return answer


def mean_and_interval(values: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the mean of (pairs,) and its 95 % bootstrap interval, NaN left out.

    None is the mean of nothing and the interval of a single value.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return {"mean": None, "interval_95": None, "pairs": 0}
    ends = bootstrap(lambda drawn: known[drawn].mean(keepdims=True), len(known), seed=seed)[0].tolist()
    return {"mean": float(known.mean()), "interval_95": ends if len(known) > 1 else None, "pairs": len(known)}
