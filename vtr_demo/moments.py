"""Which seconds of a clip are read, and how its frames fall into moments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vtr_demo.clipfolder import Moment
from vtr_demo.config import VideoConfig
from vtr_demo.video import spread_seconds

FRAMES_PER_SECOND = 2.0
"""How densely a clip with several moments is read; cuts are found at this resolution."""
WHOLE_SHARE = 0.3
"""The part of a moment's score that comes from the whole clip (our decision). Of ten shares, in films of
seven and of four real clips (`python -m vtr_demo moments`), none finds more films first in both."""


@dataclass(frozen=True)
class Plan:
    """The seconds to read, ascending, and which of them stand for the whole clip."""

    seconds: tuple[float, ...]
    whole: tuple[int, ...]


def plan_frames(duration_s: float, config: VideoConfig) -> Plan:
    """The evenly spread frames of the whole clip; in longer clips, a regular timeline between them."""
    whole = spread_seconds(duration_s, config.clip_frames)
    extra: list[float] = []
    if duration_s > 1.5 * config.moment_s:
        wanted = math.ceil(duration_s * FRAMES_PER_SECOND)
        extra = spread_seconds(duration_s, max(1, min(wanted, config.max_frames - len(whole))))
    seconds = sorted({*whole, *extra})
    places = {second: i for i, second in enumerate(seconds)}
    return Plan(tuple(seconds), tuple(places[second] for second in whole))


def find_moments(
    seconds: np.ndarray, cuts: Sequence[int], duration_s: float, config: VideoConfig
) -> list[Moment]:
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


def fused(vectors: np.ndarray) -> np.ndarray:
    """What is searched for a clip with vectors (1+M, F): a weighted mean of the whole and each moment.

    Both are linear in the score, so a hit's score is still one inner product and still adds up.
    Without moments it is the whole clip's vector alone.
    """
    if len(vectors) == 1:
        return vectors
    return WHOLE_SHARE * vectors[:1] + (1 - WHOLE_SHARE) * vectors[1:]
