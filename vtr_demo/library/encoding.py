"""From a file to frames, moments, tokens and vectors, as a library stores them."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from vtr_demo.config import VideoConfig
from vtr_demo.files import compressed, sha256_of
from vtr_demo.library.records import ClipContents, Moment
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.model.s2ca import kmeans
from vtr_demo.structures import FrameBatch, VideoFeatures, VideoTokens, pad_video_tokens
from vtr_demo.video.frames import (
    LimitConfig,
    VideoInfo,
    check_file,
    convert_for_browser,
    plan_frames,
    read_film_guarded,
)

CUT, CUT_RATIO = 0.35, 2.0
"""Least distance of two frames at a hard cut, and how far it stands out among its neighbours."""
_SETTLED_NS = 2 * 10**9
"""A file that was changed more lately than so may change again without showing it: disks count time coarsely."""
_POINTS = 20_000
"""Tokens among which prototypes are sought."""


@dataclass(frozen=True)
class ReadClip:
    """A clip before the towers. poster: the middle frame (H, W, 3) uint8, in its own proportions."""

    info: VideoInfo
    frames: FrameBatch
    poster: np.ndarray
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class PreparedFile:
    """A file on its way: its state and digest when it was read, and what is stored of it.

    Each stage adds its part; ``clip`` and ``contents`` stay None where the content was known.
    """

    state: os.stat_result
    modified_ns: int
    digest: str
    clip: ReadClip | None = None
    playable: Path | None = None
    contents: ClipContents | None = None


def read_file(
    path: Path,
    model: RetrievalModel,
    limits: LimitConfig,
    scratch: Path,
    known: Callable[[str], object] = lambda _: None,
) -> PreparedFile:
    """Read all that is stored of a file, unless its digest is known."""
    state = check_file(path, limits).stat()  # refuses what must not even be hashed
    read = PreparedFile(state, settled_time(state), sha256_of(path))
    if known(read.digest):
        return read
    clip, playable = read_clip(path, model, limits), None
    if not clip.info.browser_playable:
        playable = convert_for_browser(path, scratch / f"{uuid4().hex}.mp4", limits=limits)
    return replace(read, clip=clip, playable=playable)


def encode_file(read: PreparedFile, model: RetrievalModel) -> PreparedFile:
    """Run towers and heads on what was read."""
    return replace(read, contents=encode_clip(read.clip, model, read.playable)) if read.clip else read


def settled_time(state: os.stat_result) -> int:
    """Return when a file was changed in nanoseconds, 0 where that was a moment ago."""
    return state.st_mtime_ns if time.time_ns() - state.st_mtime_ns > _SETTLED_NS else 0


def read_clip(path: Path, model: RetrievalModel, limits: LimitConfig) -> ReadClip:
    """Read a file in the guarded worker, the frames as they are stored; raises ``VideoError``."""
    size, video = model.backbone.frame_size, model.video
    info, frames, poster = read_film_guarded(path, size=size, config=video, limits=limits)
    frames, plan = compressed(frames), plan_frames(info.duration_s, video)
    cuts = shot_cuts(frames) if len(plan.seconds) > len(plan.whole) else []
    return ReadClip(info, frames, poster, tuple(find_moments(frames.seconds, cuts, info.duration_s, video)))


def encode_clip(clip: ReadClip, model: RetrievalModel, playable: Path | None = None) -> ClipContents:
    """Run towers and heads on what was read of a film."""
    tokens = encode_frames(model, clip.frames)
    vectors = clip_vectors(model, tokens, clip.info.duration_s, clip.moments)
    return ClipContents(clip.frames, tokens, vectors, clip.poster, playable=playable)


def encode_frames(model: RetrievalModel, frames: FrameBatch) -> VideoTokens:
    """Run the image tower, rounded as the library stores it: a vector never depends on when it was made."""
    tokens = model.backbone.encode_frames(frames.pixels)
    return tokens.half().to(tokens.patches.device)


def whole_frames(duration_s: float, count: int, model: RetrievalModel) -> tuple[int, ...]:
    """Return which of ``count`` stored frames stand for the whole clip."""
    plan = plan_frames(duration_s, model.video)
    return plan.whole if len(plan.seconds) == count else tuple(range(count))


def encode_whole(model: RetrievalModel, tokens: VideoTokens, duration_s: float) -> VideoFeatures:
    """Run the heads on the frames that stand for the whole of a clip."""
    return encode_parts(model, tokens, [whole_frames(duration_s, tokens.patches.shape[1], model)])[0]


@torch.no_grad()
def encode_parts(
    model: RetrievalModel, tokens: VideoTokens, parts: Sequence[Sequence[int]], chunk: int = 16
) -> list[VideoFeatures]:
    """Run the heads on several frame selections of one clip, in batches of ``chunk``."""
    device = next(model.model.parameters()).device
    features = []
    for start in range(0, len(parts), chunk):
        batch = pad_video_tokens([tokens.take(list(part)) for part in parts[start : start + chunk]])
        features.append(model.model.encode_video(batch.to(device)))
    return features


def clip_vectors(
    model: RetrievalModel, tokens: VideoTokens, duration_s: float, moments: Sequence[Moment]
) -> np.ndarray:
    """Return the video side of the score (1+M, F) float32: the whole clip, then its M moments."""
    whole = whole_frames(duration_s, tokens.patches.shape[1], model)
    parts = [whole, *(moment.frames for moment in moments)]
    rows = [features.flat().cpu() for features in encode_parts(model, tokens, parts)]
    return np.ascontiguousarray(torch.cat(rows).numpy(), dtype=np.float32)


@torch.no_grad()
def fit_prototypes(model: RetrievalModel, clips: Sequence[VideoTokens]) -> dict[str, list]:
    """Fit prototypes (K, D) by k-means on the clips' own tokens, and the centre (2, D) of both modalities.

    Returns plain lists, to be kept. The centre of the text stays zero, for no sentence has been read.
    """
    device = next(model.model.parameters()).device
    tokens = []
    for clip in clips:
        out = model.model.forward_video(clip.to(device))
        tokens.append(out.concept_tokens[out.concept_mask].cpu())
    points = torch.cat(tokens)
    points = points[torch.linspace(0, len(points) - 1, min(len(points), _POINTS)).long()]
    centre = torch.stack([points.mean(0), torch.zeros_like(points[0])])
    prototypes = model.model.concepts.prototypes
    fitted = kmeans(points - centre[0], len(prototypes))
    return {"centre": centre.tolist(), "prototypes": fitted.tolist()}


@torch.no_grad()
def load_prototypes(model: RetrievalModel, fitted: dict[str, Any]) -> None:
    """Set prototypes and centre of a model to those of ``fit_prototypes``."""
    concepts = model.model.concepts
    concepts.centre.copy_(torch.tensor(fitted["centre"]))
    concepts.prototypes.copy_(torch.tensor(fitted["prototypes"]).reshape_as(concepts.prototypes))


# --------------------------------------------------------------------------- moments
def find_moments(seconds: np.ndarray, cuts: Sequence[int], duration_s: float, config: VideoConfig) -> list[Moment]:
    """Shots between ``cuts`` (frame indices), long ones split into equal windows near ``moment_s``.

    A clip that is a single moment has none: the whole clip stands for it.
    """
    edges = [0, *cuts, len(seconds)]
    moments: list[Moment] = []
    for first, last in itertools.pairwise(edges):
        start = 0.0 if first == 0 else float(seconds[first - 1] + seconds[first]) / 2
        end = duration_s if last == len(seconds) else float(seconds[last - 1] + seconds[last]) / 2
        count = max(1, min(round((end - start) / config.moment_s), last - first))
        borders = np.linspace(start, end, count + 1)
        window = np.clip(np.searchsorted(borders, seconds[first:last], side="right") - 1, 0, count - 1)
        held = np.unique(window).tolist()
        # a window without a frame joins the one before it: moments leave no gap
        starts = [start, *(float(borders[k]) for k in held[1:])]
        for k, low, high in zip(held, starts, [*starts[1:], end], strict=True):
            inside = (first + np.flatnonzero(window == k)).tolist()
            moments.append(Moment(low, high, _thinned(inside, config.moment_frames)))
    return moments if len(moments) > 1 else []


def _thinned(indices: Sequence[int], count: int) -> tuple[int, ...]:
    """At most ``count`` of ``indices``, evenly spread."""
    if len(indices) <= count:
        return tuple(indices)
    return tuple(indices[int((i + 0.5) * len(indices) / count)] for i in range(count))


def shot_cuts(batch: FrameBatch) -> list[int]:
    """Indices i such that a hard cut lies between frames i-1 and i.

    A frame is described by the histograms (64 colours) of a 3x3 grid of cells. The distance of two frames is
    that of the fourth most similar cell, half the sum of absolute differences, 0 to 1: a cut changes nearly
    the whole picture, a thing that passes by only a part. A cut is a distance of CUT at least and CUT_RATIO
    times the median of up to three distances on either side, since a busy shot is busy throughout. Our
    decision: of the joints between real clips at 1.5 frames a second it finds 98 %, and takes one step in
    forty within a clip for a cut, real ones among them.
    """
    if len(batch) < 2:
        return []
    marks = np.stack([_cell_histograms(picture) for picture in batch.pixels])
    steps = np.sort(np.abs(np.diff(marks, axis=0)).sum(axis=2) / 2, axis=1)[:, 3]
    cuts = []
    for i, step in enumerate(steps):
        beside = np.concatenate([steps[max(0, i - 3) : i], steps[i + 1 : i + 4]])
        usual = float(np.median(beside)) if len(beside) else 0.0
        if step >= CUT and step >= CUT_RATIO * usual:
            cuts.append(i + 1)
    return cuts


def _cell_histograms(picture: np.ndarray) -> np.ndarray:
    """(9, 64), rows sum to 1: shares of 64 colours in each cell of a 3x3 grid over a picture (H, W, 3)."""
    height, width = picture.shape[:2]
    colours = (picture >> 6).astype(np.int64) @ np.array([16, 4, 1])
    cells = (np.arange(height) * 3 // height)[:, None] * 3 + np.arange(width) * 3 // width
    counts = np.bincount((cells * 64 + colours).ravel(), minlength=9 * 64).reshape(9, 64)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
