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

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from vtr_demo.data.dataset import Sample, file_samples
from vtr_demo.errors import ConfigError, ManifestError, TextError, VideoError
from vtr_demo.evaluation.evaluate import open_test
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

# --------------------------------------------------------------------------- what a pair of a sentence a
UNITS = ("words", "frames", "patches")
"""What can be taken away. A patch is one cell of one frame, numbered frame by frame and row by row."""
_CHUNK = 16


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
def open_pair(pretrained: RetrievalModel, sentence: Sentence, frames: FrameBatch) -> Pair:
    """Encode a sentence and a clip."""
    model = pretrained.model
    text = pretrained.backbone.encode_text([sentence])
    video = model.reduced(pretrained.backbone.encode_frames(frames.pixels))
    return Pair(sentence, frames, text, video, model.encode_text(text), model.encode_video(video))


def score_kept(pretrained: RetrievalModel, pair: Pair, unit: str, kept: np.ndarray) -> np.ndarray:
    """Scores (M,) of a pair of which only some words, frames or patches are left; default weights.

    ``kept`` (M, N) bool, N as many as the pair has of ``unit``; at least one word or frame a row. Equal
    rows are scored once. NaN where the words left are no sentence that the parser takes.
    """
    rows, back = np.unique(kept, axis=0, return_inverse=True)
    return _SCORES[unit](pretrained, pair, rows)[back.reshape(-1)]


@torch.no_grad()
def _by_words(pretrained: RetrievalModel, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The sentence without the other words, parsed anew: its levels may change with it."""
    read = {row: found for row, mask in enumerate(kept) if (found := _reread(pair.sentence, mask))}
    scores = np.full(len(kept), np.nan)
    if read:
        features = pretrained.model.encode_text(pretrained.backbone.encode_text([*read.values()]))
        values = pretrained.model.scores(features, pair.video_features)[:, 0]
        scores[[*read]] = values.cpu().numpy()
    return scores


def _reread(sentence: Sentence, kept: np.ndarray) -> Sentence | None:
    try:
        return parse(without_words(sentence, np.flatnonzero(~kept).tolist()))
    except TextError:
        return None


@torch.no_grad()
def _by_frames(pretrained: RetrievalModel, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The clip with the other frames cut out. Image towers read each frame alone, so that its tokens
    stay; what the heads make of changes between neighbours does not."""
    model = pretrained.model
    shorter = [pair.video.take(np.flatnonzero(mask).tolist()) for mask in kept]
    parts = [
        model.scores(pair.text_features, model.encode_video(pad_video_tokens(shorter[a : a + _CHUNK])))[0]
        for a in range(0, len(shorter), _CHUNK)
    ]
    return torch.cat(parts).cpu().numpy()


@torch.no_grad()
def _by_patches(pretrained: RetrievalModel, pair: Pair, kept: np.ndarray) -> np.ndarray:
    """The clip with the other cells painted over, through the image tower again."""
    model, scores = pretrained.model, np.empty(len(kept))
    for row, mask in enumerate(kept):
        pixels = paint_over(pair.frames.pixels, mask, pair.video.grid)
        video = model.encode_video(pretrained.backbone.encode_frames(pixels))
        scores[row] = float(model.scores(pair.text_features, video)[0, 0])
    return scores


_SCORES = {"words": _by_words, "frames": _by_frames, "patches": _by_patches}


def paint_over(pixels: np.ndarray, kept: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Pixels (T, H, W, 3) uint8 whose cells not ``kept`` (T*P,) bool have the clip's mean colour.

    Our decision: one flat colour, as black would add darkness and a blur would leave what is large.
    It is no picture that a tower has seen, which is the known weakness of all such curves; the
    random order suffers from it alike, so read the differences.
    """
    frames, height, width = pixels.shape[:3]
    rows, columns = (
        np.arange(side) * cells // side for side, cells in zip((height, width), grid, strict=True)
    )
    shown = kept.reshape(frames, *grid)[:, rows][:, :, columns]
    colour = pixels.mean(axis=(0, 1, 2)).round().astype(np.uint8)
    return np.where(shown[..., None], pixels, colour)


# --------------------------------------------------------------------------- what words, frames and patc
Attribution = dict[str, np.ndarray]
"""By unit: words (W,), frames (T,), patches (T*P,)."""


def summands(alignment: Alignment) -> Attribution:
    """What each word, frame and patch adds to the score, all terms together."""
    parts = alignment.all_terms().sum(axis=0, dtype=np.float64)  # (1+W, T, 1+P)
    return {
        "words": parts[1:].sum(axis=(1, 2)),
        "frames": parts.sum(axis=(0, 2)),
        "patches": parts[:, :, 1:].sum(axis=0).reshape(-1),
    }


def gradient_x_input(model: VTRModel, pair: Pair) -> Attribution:
    """Gradient times value of the tokens that the heads take, summed over channels.

    A frame's is that of its patches and of its whole-frame token, as with ``summands``.
    """
    seen = {name: getattr(pair.video, name) for name in ("patches", "summary", "motion")}
    inputs = {
        name: tokens.detach().clone().requires_grad_()
        for name, tokens in ({"words": pair.text.words} | seen).items()
        if tokens is not None
    }
    with torch.enable_grad():
        text = model.encode_text(replace(pair.text, words=inputs["words"]))
        video = model.encode_video(replace(pair.video, **{n: x for n, x in inputs.items() if n != "words"}))
        slopes = torch.autograd.grad(model.scores(text, video)[0, 0], list(inputs.values()))
    adds = {
        name: (tokens.detach() * slope).sum(-1)[0].cpu().double().numpy()
        for (name, tokens), slope in zip(inputs.items(), slopes, strict=True)
    }
    frames = adds["patches"].sum(axis=1) + adds["summary"] + adds.get("motion", 0.0)
    return {"words": adds["words"], "frames": frames, "patches": adds["patches"].reshape(-1)}


def on_whole_tokens(alignment: Alignment) -> dict[str, float]:
    """The share of all contributions (by size) on the whole sentence, and on whole frames; 0 to 1."""
    parts = alignment.all_terms().sum(axis=0, dtype=np.float64)
    by_word, by_place = np.abs(parts.sum(axis=(1, 2))), np.abs(parts.sum(axis=0))
    return {
        "words": float(by_word[0] / max(by_word.sum(), 1e-12)),
        "patches": float(by_place[:, 0].sum() / max(by_place.sum(), 1e-12)),
    }


# --------------------------------------------------------------------------- random weights
def redrawn(model: VTRModel, seed: int) -> VTRModel:
    """The same architecture with every parameter drawn anew, normal with its trained mean and spread.

    A matrix without a spread (zero at birth, never trained) gets 1 / sqrt(fan in), a lone number its
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


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, in [-1, 1], of two attributions (N,); NaN where one of them is constant."""
    from scipy import stats

    ranks = [stats.rankdata(values) for values in (first, second)]
    if min(values.std() for values in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def agreement(first: Attribution, second: Attribution) -> dict[str, dict[str, float]]:
    """Rank correlation of the word and patch attributions: as they are, and by size (both in Adebayo et
    al.: a map that only changed its sign would look unrelated in the first)."""
    return {
        unit: {
            "signed": rank_correlation(first[unit], second[unit]),
            "absolute": rank_correlation(np.abs(first[unit]), np.abs(second[unit])),
        }
        for unit in ("words", "patches")
    }


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
    pretrained: RetrievalModel,
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
    pretrained: RetrievalModel,
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
        raise ConfigError(f"Faithfulness needs at least 1 step and a seed from 0, got {steps} and {seed}.")
    dataset = open_test(data, split=split, annotations=None, videos=None, kind=kind)
    items = file_samples(dataset, pretrained.video)
    asked = matched_pairs(items, limit, seed)
    if not asked:
        raise ManifestError(
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
        except VideoError as error:
            log.warning("%s", error)
            continue
        pair = open_pair(pretrained, sentence, frames)
        texts.append(pair.text_features)
        videos.append(pair.video_features)
        spoken.append(sentence.text)
        rows.append(_measured(pretrained, pair, others, steps, (seed, number)))
    if not rows:
        raise VideoError(dataset.name, "none of its clips can be read", "check the folder of videos")
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


def matched_pairs(items: Sequence[Sample], limit: int | None, seed: int) -> list[tuple[Sample, Sentence]]:
    """Each clip with its first sentence that is long enough; at most ``limit`` of them, drawn by ``seed``."""
    long = [(i, [s for s in i.sentences if len(s.words) >= FEWEST_WORDS]) for i in items]
    pairs = [(item, sentences[0]) for item, sentences in long if sentences]
    if limit is None or limit >= len(pairs):
        return pairs
    chosen = np.random.default_rng(seed).choice(len(pairs), limit, replace=False)
    return [pairs[i] for i in sorted(chosen)]


def _measured(
    pretrained: RetrievalModel, pair: Pair, others: Sequence[VTRModel], steps: int, seed: Sequence[int]
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
