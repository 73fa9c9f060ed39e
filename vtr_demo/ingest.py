"""From a file to what a library stores of it: frames, tokens, moments and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vtr_demo.checkpoint import Pretrained
from vtr_demo.clipfolder import Moment
from vtr_demo.config import LimitConfig, VideoConfig
from vtr_demo.features import VideoFeatures
from vtr_demo.moments import Plan, find_moments, plan_frames
from vtr_demo.records import FrameBatch, VideoTokens, pad_video_tokens
from vtr_demo.s2ca import kmeans
from vtr_demo.video import VideoInfo, probe_guarded, read_frames_guarded, shot_cuts

POSTER_SIDE = 480
"""The longer side of a clip's poster in pixels."""

_POINTS = 20_000
"""Tokens that prototypes are looked for among."""


@dataclass(frozen=True)
class Analysed:
    """A clip after the image tower. ``whole`` indexes the frames that stand for all of it."""

    info: VideoInfo
    frames: FrameBatch
    tokens: VideoTokens
    whole: tuple[int, ...]
    moments: tuple[Moment, ...]


def analyse(
    path: Path, pretrained: Pretrained, limits: LimitConfig, info: VideoInfo | None = None
) -> Analysed:
    """Read a file in the guarded worker and run the image tower; raises ``UnreadableVideo``."""
    info = info or probe_guarded(path, limits=limits)
    plan = plan_frames(info.duration_s, pretrained.video)
    size = pretrained.backbone.frame_size
    frames = read_frames_guarded(path, plan.seconds, size=size, config=pretrained.video, limits=limits)
    tokens, moments = understood(frames, plan, info.duration_s, pretrained)
    return Analysed(info, frames, tokens, plan.whole, moments)


def understood(
    frames: FrameBatch, plan: Plan, duration_s: float, pretrained: Pretrained
) -> tuple[VideoTokens, tuple[Moment, ...]]:
    """The tokens of the frames of ``plan`` and the moments that they fall into."""
    tokens = rounded(pretrained.backbone.encode_frames(frames.pixels))
    cuts = shot_cuts(frames) if len(plan.seconds) > len(plan.whole) else []
    return tokens, tuple(find_moments(frames.seconds, cuts, duration_s, pretrained.video))


def poster(path: Path, info: VideoInfo, second: float, limits: LimitConfig) -> np.ndarray:
    """The whole picture (H, W, 3) uint8 at ``second``, in its own proportions; the model sees a square."""
    squashed = VideoConfig(fit="squash")
    square = read_frames_guarded(path, [second], size=POSTER_SIDE, config=squashed, limits=limits).pixels
    scale = POSTER_SIDE / max(info.width, info.height)
    size = (max(1, round(info.height * scale)), max(1, round(info.width * scale)))
    picture = torch.from_numpy(square).permute(0, 3, 1, 2).float()
    shaped = torch.nn.functional.interpolate(picture, size, mode="bilinear", antialias=True)
    return shaped[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def rounded(tokens: VideoTokens) -> VideoTokens:
    """Tokens as the library stores them, so that a vector never depends on when it was made."""
    return tokens.half().to(tokens.patches.device)


def whole_frames(duration_s: float, count: int, pretrained: Pretrained) -> tuple[int, ...]:
    """Which of ``count`` stored frames stand for the whole clip."""
    plan = plan_frames(duration_s, pretrained.video)
    return plan.whole if len(plan.seconds) == count else tuple(range(count))


def parts_of(whole: Sequence[int], moments: Sequence[Moment]) -> list[tuple[int, ...]]:
    """Frame indices of the whole clip and then of each moment."""
    return [tuple(whole), *(moment.frames for moment in moments)]


@torch.no_grad()
def encode_parts(
    pretrained: Pretrained, tokens: VideoTokens, parts: Sequence[Sequence[int]], chunk: int = 16
) -> list[VideoFeatures]:
    """Features of several frame selections of one clip, in batches of ``chunk``."""
    model = pretrained.model
    device = next(model.parameters()).device
    features = []
    for start in range(0, len(parts), chunk):
        batch = pad_video_tokens([tokens.take(list(part)) for part in parts[start : start + chunk]])
        features.append(model.encode_video(batch.to(device)))
    return features


def flat_vectors(pretrained: Pretrained, tokens: VideoTokens, parts: Sequence[Sequence[int]]) -> np.ndarray:
    """(1+M, F) float32: the video side of the score for each frame selection."""
    rows = [features.flat().cpu() for features in encode_parts(pretrained, tokens, parts)]
    return np.ascontiguousarray(torch.cat(rows).numpy(), dtype=np.float32)


@torch.no_grad()
def found_prototypes(pretrained: Pretrained, clips: Sequence[VideoTokens]) -> dict[str, list]:
    """Prototypes by k-means on the clips' own tokens, and the centre (2, D) of both modalities: plain
    lists, to be kept. The centre of the text stays at zero, for no sentence has been read."""
    model = pretrained.model
    device = next(model.parameters()).device
    tokens = []
    for clip in clips:
        out = model.forward_video(clip.to(device))
        tokens.append(out.concept_tokens[out.concept_mask].cpu())
    points = torch.cat(tokens)
    points = points[torch.linspace(0, len(points) - 1, min(len(points), _POINTS)).long()]
    centre = torch.stack([points.mean(0), torch.zeros_like(points[0])])
    found = kmeans(points - centre[0], model.concepts.prototypes.shape[1])
    return {"centre": centre.tolist(), "prototypes": found.expand_as(model.concepts.prototypes).tolist()}
