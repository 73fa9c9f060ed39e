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
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from vtr_demo.data.dataset import file_samples
from vtr_demo.errors import ManifestError, TextError, VideoError
from vtr_demo.evaluation.evaluate import open_test
from vtr_demo.evaluation.metrics import bootstrap
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.model import VTRModel, join_texts, join_videos
from vtr_demo.structures import Alignment, FrameBatch, Sentence, TextFeatures, TextTokens, VideoFeatures, VideoTokens
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
    model, backbone = trained.model, trained.backbone
    rows, back = np.unique(kept, axis=0, return_inverse=True)
    scores = np.full(len(rows), np.nan)
    for row, mask in enumerate(rows):
        text, video = pair.text_features, pair.video_features
        if unit == "words":  # parsed anew: the levels may change with the sentence
            try:
                shorter = parse(without_words(pair.sentence, np.flatnonzero(~mask).tolist()))
            except TextError:
                continue
            text = model.encode_text(backbone.encode_text([shorter]))
        elif unit == "frames":  # image towers read each frame alone; only the heads' differences of frames change
            video = model.encode_video(pair.video.take(np.flatnonzero(mask).tolist()))
        else:
            painted = paint_over(pair.frames.pixels, mask, pair.video.grid)
            video = model.encode_video(backbone.encode_frames(painted))
        scores[row] = float(model.scores(text, video)[0, 0])
    return scores[back.reshape(-1)]


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
    whole = {"words": (by_word[0], by_word.sum()), "patches": (by_place[:, 0].sum(), by_place.sum())}
    return {unit: float(part / max(every, 1e-12)) for unit, (part, every) in whole.items()}


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


def agreement(first: Attribution, second: Attribution) -> dict[tuple[str, str], float]:
    """Return Spearman's rank correlation of attributions by unit (words, patches) and sign, NaN where one is constant.

    `signed` as they are, and `absolute` by size (both in Adebayo et al.: a map that only changed its
    sign would look unrelated in the first).
    """
    from scipy.stats import spearmanr

    correlations = {}
    for unit in ("words", "patches"):
        signed = first[unit], second[unit]
        for sign, (a, b) in (("signed", signed), ("absolute", np.abs(signed))):
            constant = min(np.ptp(a), np.ptp(b)) == 0
            correlations[unit, sign] = math.nan if constant else float(spearmanr(a, b).statistic)
    return correlations


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
    for row in scores:
        known = np.flatnonzero(~np.isnan(row))
        row[:] = np.interp(np.arange(len(row)), known, row[known])
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
    dataset = open_test(data, kind=kind)
    items = file_samples(dataset, trained.video)
    long = [(i, s) for i in items for s in [s for s in i.sentences if len(s.words) >= FEWEST_WORDS][:1]]
    if not long:
        raise ManifestError(
            f"{dataset.name} has no caption of at least {FEWEST_WORDS} words; without some there is "
            "no order of words to test."
        )
    count = min(len(long), len(long) if limit is None else limit)
    drawn = [long[i] for i in sorted(np.random.default_rng(seed).choice(len(long), count, replace=False))]
    models = (trained.model, *(randomised(trained.model, seed + i) for i in range(RANDOM_MODELS)))
    pairs: list[Pair] = []
    pair_rows: list[dict[str, Curves]] = []
    whole: list[dict[str, float]] = []
    agreements: dict[tuple[str, str], list[float]] = {}
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
        pairs.append(replace(pair, frames=frames.take([0])))  # pixels are no longer needed
        pair_rows.append(pair_curves(trained, pair, own, steps, (seed, number)))
        whole.append(on_whole_tokens(alignments[0]))
        chance = [agreement(own, other) for other in others]
        for key in chance[0]:  # a pair's value is its mean over the random models
            agreements.setdefault(key, []).append(float(np.mean([one[key] for one in chance])))
    if not pairs:
        raise VideoError(dataset.name, "none of its clips can be read", "check the folder of videos")
    return {
        "model": trained.spec,
        "data": dataset.name,
        "kind": kind or "all",
        "pairs": len(pairs),
        "clips_without_a_long_sentence": len(items) - len(long),
        "unreadable_clips": len(drawn) - len(pairs),
        "steps": steps,
        "seed": seed,
        **_scale(trained.model, pairs),
        "better": {"deletion": "smaller area", "insertion": "larger area", "random_weights": "near 0"},
        "on_whole_tokens": {unit: float(np.mean([one[unit] for one in whole])) for unit in ("words", "patches")},
        "curves": {unit: _summarize_curves([row[unit] for row in pair_rows if unit in row], seed) for unit in UNITS},
        "random_weights": {"models": RANDOM_MODELS}
        | {
            unit: {sign: mean_and_interval(np.array(agreements[unit, sign]), seed) for sign in ("signed", "absolute")}
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
