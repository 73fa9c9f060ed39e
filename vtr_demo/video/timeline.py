"""When each packet of a video stream is decoded and shown, on one clock that never runs back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

NO_TIME = -(2**63)
"""Stands for a time stamp that a packet does not have."""

_REORDER = 17
"""Packets within which decoding order and showing order may differ (H.264 and HEVC hold 16 pictures)."""
_JUMP_S = 10.0
"""In MPEG streams a longer step forward is a new clock, not a pause (FFmpeg's dts_delta_threshold)."""
_SLACK_S = 0.5
_FAR_TICKS = 2**60
"""No stamp of a real file is beyond; sums of two stay within 64 bits."""


@dataclass(frozen=True)
class PacketRow:
    """One packet as the demuxer gives it; times in ticks, ``NO_TIME`` where there is none."""

    pts: int
    dts: int
    is_key: bool
    is_shown: bool
    duration: int
    has_state: bool
    """True where it brings a palette or new codec headers, which no later packet repeats."""


@dataclass(frozen=True)
class Timeline:
    """The packets of a video stream in decoding order: arrays (N,), times in ticks of ``tick_s`` seconds."""

    pts: np.ndarray
    dts: np.ndarray
    is_key: np.ndarray
    ticks: np.ndarray
    """When frames appear, ascending and without doubles; packets cut away by an edit list are left out."""
    last_ticks: int
    """How long the last frame is shown."""
    tick_s: float
    ordinal: bool = False
    """True where the stamps only count packets (H.264 with B frames in AVI): then frames are counted."""
    in_order: bool = False
    """True where the file has to be decoded from its start: seeking would lose decoder state or the clock."""
    retimed: bool = False
    """True where ``pts`` are not the file's own, because packets lack a time or the clock restarts."""
    untimed: np.ndarray | None = None
    """(N,) bool, the packets without a time stamp; None where every packet has one."""
    shifts: tuple[int, ...] = (0,)
    """Ticks added to the stamps of each stretch between two restarts of the clock."""

    @property
    def duration_s(self) -> float:
        """From the first frame's appearance to the last one's end."""
        return float(self.ticks[-1] - self.ticks[0] + self.last_ticks) * self.tick_s

    @property
    def open_groups(self) -> bool:
        """True where pictures shown before a key frame are decoded after it (open groups of pictures)."""
        numbers = np.arange(len(self.pts))
        latest_key = np.maximum.accumulate(np.where(self.is_key, numbers, 0))
        return bool((self.pts < self.pts[latest_key]).any())

    def tick_at(self, second: float) -> int:
        """When the frame shown at ``second`` appeared; second 0 is the first frame's appearance."""
        # A thousandth of a tick forgives the rounding of a second that was computed from a tick.
        wanted = self.ticks[0] + math.floor(min(second, self.duration_s) / self.tick_s + 1e-3)
        return int(self.ticks[max(np.searchsorted(self.ticks, wanted, side="right") - 1, 0)])

    def before(self, tick: int) -> int:
        """The tick of the frame before the one at ``tick``; the first frame's for the first."""
        return int(self.ticks[max(int(np.searchsorted(self.ticks, tick)) - 1, 0)])

    def second(self, tick: int) -> float:
        """Seconds from the first frame's appearance to ``tick``."""
        return float(tick - self.ticks[0]) * self.tick_s

    def run_to(self, tick: int, earlier: float = 0) -> tuple[int, int]:
        """Packet numbers (first, last) to decode for the frame at ``tick``: its key frame to itself.

        ``earlier`` starts so many key frames before; infinity starts with the first packet.
        """
        if self.ordinal:
            return 0, len(self.dts) - 1
        last = int(np.flatnonzero(self.pts == tick)[-1])
        if self.untimed is not None:  # a guessed time may be that of a packet nearby
            last = min(last + _REORDER, len(self.pts) - 1)
        keys = np.flatnonzero(self.is_key & (self.pts <= tick))
        if self.in_order or not len(keys) or earlier >= len(keys):
            return 0, last
        latest_first = keys[np.argsort(-self.pts[keys], kind="stable")]
        return int(latest_first[int(earlier)]), last


def build_timeline(rows: Sequence[PacketRow], *, tick_s: float, fps: float, ordinal: bool, restarts: bool) -> Timeline:
    """Turn packets in decoding order into a timeline; at least one of them is shown.

    ``ordinal`` says that times of showing are guesses (B frames in AVI), ``restarts`` that the container
    may change its clock in mid-stream (MPEG-TS, MPEG-PS): then long steps forward are closed as well.
    Packets without a time follow their neighbours at the usual pace; where the clock jumps back, the
    stretch after it goes on where the one before ended.
    """
    pts = np.array([row.pts for row in rows], dtype=np.int64)
    dts = np.array([row.dts for row in rows], dtype=np.int64)
    pts = np.where(pts == NO_TIME, dts, pts)
    dts = np.where(dts == NO_TIME, pts, dts)
    is_key, is_shown, has_state = (
        np.array([getattr(row, name) for row in rows]) for name in ("is_key", "is_shown", "has_state")
    )
    untimed = pts == NO_TIME
    pts, dts = (np.clip(stamps, -_FAR_TICKS, _FAR_TICKS) for stamps in (pts, dts))
    step = _usual_step(pts[~untimed & is_shown], tick_s, fps)
    if untimed.any():
        is_shown &= ~(untimed & (np.maximum.accumulate(is_key) == 0))  # nothing to decode them from
        pts, ordinal = _filled(pts, untimed, max(1, step)), False
        dts = np.where(untimed, pts, dts)
    ordinal = ordinal and bool((pts != dts).any())
    shifts = [0]
    if not ordinal:
        starts = _clock_starts(pts, dts, is_key, tick_s, max(1, step), restarts)
        for start, end in pairwise([*starts[1:], len(pts)]):
            stretch = slice(start, end)
            shown = pts[stretch][is_shown[stretch]] if is_shown[stretch].any() else pts[stretch]
            earlier = pts[:start][is_shown[:start]] if is_shown[:start].any() else pts[:start]
            pace = _usual_step(pts[starts[len(shifts) - 1] : start], tick_s, fps) or step
            shift = int(earlier.max()) + max(1, pace) - int(shown.min())
            pts[stretch] += shift
            dts[stretch] += shift
            shifts.append(shift)
    ticks = np.unique((dts if ordinal else pts)[is_shown])
    last = np.flatnonzero(is_shown)[np.argmax(pts[is_shown])]
    # In AVI every packet lasts one tick, also where its ticks are finer than its frames.
    last_ticks = min(rows[last].duration, _FAR_TICKS) if rows[last].duration > 0 and not ordinal else step
    retimed = bool(untimed.any() or len(shifts) > 1)
    return Timeline(
        pts, dts, is_key, ticks, last_ticks, tick_s, ordinal,
        in_order=ordinal or retimed or bool(has_state.any()),
        retimed=retimed, untimed=untimed if untimed.any() else None, shifts=tuple(shifts),
    )  # fmt: skip


def _usual_step(pts: np.ndarray, tick_s: float, fps: float) -> int:
    ticks = np.unique(pts)
    if len(ticks) > 1:
        return int(np.median(np.diff(ticks)))
    return int(1 / (fps * tick_s)) if fps else 0


def _filled(pts: np.ndarray, untimed: np.ndarray, step: int) -> np.ndarray:
    """Times for packets that have none.

    Matroska cannot store times below zero: such packets come first, and reordering may put a few of them
    behind the first that has a time.
    """
    known = np.flatnonzero(~untimed)
    if not len(known):
        return np.arange(len(pts), dtype=np.int64) * step
    filled = pts.copy()
    missing = np.flatnonzero(untimed)
    leading = missing[missing < known[0] + _REORDER] if missing[0] < known[0] else missing[:0]
    filled[leading] = pts[known[:_REORDER]].min() - step * np.arange(len(leading), 0, -1)
    for number in missing[len(leading) :]:
        filled[number] = filled[max(0, number - _REORDER) : number].max() + step
    return filled


def _clock_starts(
    pts: np.ndarray, dts: np.ndarray, is_key: np.ndarray, tick_s: float, step: int, restarts: bool
) -> list[int]:
    """Numbers of the packets with which a clock begins: 0, and where it jumps back (or far ahead)."""
    starts, high = [0], int(pts[0])
    slack = round(_SLACK_S / tick_s)
    far = max(round(_JUMP_S / tick_s), 20 * step)
    for number in range(1, len(pts)):
        fall = int(dts[number - 1]) - int(dts[number])
        # A single late packet is disorder; a clock that jumped back stays behind.
        back = fall > (0 if is_key[number] else slack) and float(np.median(pts[number : number + _REORDER])) < high
        if back or (restarts and -fall > far):
            starts.append(number)
            high = int(pts[number])
        high = max(high, int(pts[number]))
    return starts
