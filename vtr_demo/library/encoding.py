"""From a file to frames, tokens and vectors, as a library stores them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from vtr_demo.files import compressed, sha256_of
from vtr_demo.library.moments import Moment, find_moments, shot_cuts
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

_SETTLED_NS = 2 * 10**9
"""A file that was changed more lately than so may change again without showing it: disks count time coarsely."""
_POINTS = 20_000
"""Tokens among which prototypes are sought."""


@dataclass(frozen=True)
class ReadClip:
    """A clip before the towers. ``whole`` indexes the frames that stand for all of it.

    poster: the middle frame (H, W, 3) uint8, in its own proportions.
    """

    info: VideoInfo
    frames: FrameBatch
    poster: np.ndarray
    whole: tuple[int, ...]
    moments: tuple[Moment, ...]


@dataclass(frozen=True)
class EncodedClip(ReadClip):
    """A clip after the towers."""

    tokens: VideoTokens


@dataclass(frozen=True)
class PreparedFile:
    """A file on its way: its state and digest when it was read, and what is stored of it.

    Each stage adds its part; ``clip`` stays None where the content was known.
    """

    state: os.stat_result
    modified_ns: int
    digest: str
    clip: ReadClip | None = None
    playable: Path | None = None
    vectors: np.ndarray | None = None


def read_file(
    path: Path,
    model: RetrievalModel,
    limits: LimitConfig,
    scratch: Path,
    is_known: Callable[[str], bool] = lambda _: False,
) -> PreparedFile:
    """Read all that is stored of a file, unless its digest is known."""
    state = check_file(path, limits).stat()  # refuses what must not even be hashed
    (_, modified_ns), digest = size_and_time(state), sha256_of(path)
    if is_known(digest):
        return PreparedFile(state, modified_ns, digest)
    clip, playable = read_clip(path, model, limits), None
    if not clip.info.browser_playable:
        playable = scratch / f"{uuid4().hex}.mp4"
        convert_for_browser(path, playable, limits=limits)
    return PreparedFile(state, modified_ns, digest, clip, playable)


def encode_file(read: PreparedFile, model: RetrievalModel) -> PreparedFile:
    """Run towers and heads on what was read."""
    if read.clip is None:
        return read
    clip = encode_read(read.clip, model)
    return replace(read, clip=clip, vectors=clip_vectors(model, clip.tokens, clip.whole, clip.moments))


def size_and_time(state: os.stat_result) -> tuple[int, int]:
    """Return a file's bytes and when it was changed, 0 where that was a moment ago."""
    settled = time.time_ns() - state.st_mtime_ns > _SETTLED_NS
    return state.st_size, state.st_mtime_ns if settled else 0


def encode_clip(path: Path, model: RetrievalModel, limits: LimitConfig) -> EncodedClip:
    """Read a file in the guarded worker and run the towers; raises ``VideoError``."""
    return encode_read(read_clip(path, model, limits), model)


def encode_read(clip: ReadClip, model: RetrievalModel) -> EncodedClip:
    """Run the towers on what was read of a file."""
    return EncodedClip(**vars(clip), tokens=encode_frames(model, clip.frames))


def read_clip(path: Path, model: RetrievalModel, limits: LimitConfig) -> ReadClip:
    """Read a file in the guarded worker, the frames as they are stored; raises ``VideoError``."""
    size, video = model.backbone.frame_size, model.video
    info, frames, poster = read_film_guarded(path, size=size, config=video, limits=limits)
    frames, plan = compressed(frames), plan_frames(info.duration_s, video)
    cuts = shot_cuts(frames) if len(plan.seconds) > len(plan.whole) else []
    moments = tuple(find_moments(frames.seconds, cuts, info.duration_s, video))
    return ReadClip(info, frames, poster, plan.whole, moments)


def encode_frames(model: RetrievalModel, frames: FrameBatch) -> VideoTokens:
    """Run the image tower, rounded as the library stores it: a vector never depends on when it was made."""
    tokens = model.backbone.encode_frames(frames.pixels)
    return tokens.half().to(tokens.patches.device)


def whole_frames(duration_s: float, count: int, model: RetrievalModel) -> tuple[int, ...]:
    """Return which of ``count`` stored frames stand for the whole clip."""
    plan = plan_frames(duration_s, model.video)
    return plan.whole if len(plan.seconds) == count else tuple(range(count))


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
    model: RetrievalModel, tokens: VideoTokens, whole: Sequence[int], moments: Sequence[Moment]
) -> np.ndarray:
    """Return the video side of the score (1+M, F) float32: the whole clip, then its M moments."""
    parts = [tuple(whole), *(moment.frames for moment in moments)]
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
