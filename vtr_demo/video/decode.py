"""A video file as PyAV sees it: its packets, and the frames at chosen times.

It is read in two passes. The first lists the packets without decoding them (`Timeline`): time stamps,
key frames, and how much of a truncated file is really there. The second seeks once per group of pictures
and feeds the decoder exactly the packets from the key frame to the wanted frame. A seek that lands
elsewhere than announced, as in MPEG-TS, is noticed, and the file is read from its start instead.
"""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.errors import VideoError
from vtr_demo.limits import LimitConfig

log = logging.getLogger("vtr_demo.video")

OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,mxf",
}
"""What may be opened. Playlists, picture lists and text are left out: they can name other files and
addresses, which an uploaded file must not do."""
RESAVE = "re-save the clip as H.264 MP4"
NEAR_PACKETS = 256
"""A key frame at most so many packets ahead is reached by reading on, not by seeking."""


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
    ordinal: bool
    """True where the stamps only count packets (H.264 with B frames in AVI): then frames are counted."""

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

    def second(self, tick: int) -> float:
        """Seconds from the first frame's appearance to ``tick``."""
        return float(tick - self.ticks[0]) * self.tick_s

    def run_to(self, tick: int) -> tuple[int, int]:
        """Packet numbers (first, last) to decode for the frame at ``tick``: its key frame to itself."""
        if self.ordinal:
            return 0, len(self.dts) - 1
        keys = np.flatnonzero(self.is_key & (self.pts <= tick))
        first = int(keys[np.argmax(self.pts[keys])]) if len(keys) else 0
        return first, int(np.flatnonzero(self.pts == tick)[-1])


class Source:
    """A video file read by PyAV: its main video stream and its timeline. Use it in a `with` statement."""

    def __init__(self, path: str | Path, limits: LimitConfig | None = None) -> None:
        self.path = Path(path)
        self._limits = limits
        self._open()
        try:
            self._check_pixels()
            self.timeline = self._scan()
            self._check_duration()
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    @property
    def codec(self) -> str:
        """The codec's own name, whichever library decodes it: "h264", "av1"."""
        return str(self.stream.codec_context.codec.canonical_name)

    @property
    def pixel_aspect(self) -> float:
        """Width over height of a stored pixel; 1 where the file says nothing sensible."""
        aspect = float(self.stream.sample_aspect_ratio or 1)
        return aspect if 0.25 < aspect < 4 else 1.0

    # ------------------------------------------------------------------ frames
    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
        """(wanted tick, its own tick, frame) for ascending ticks; what cannot be decoded is left out."""
        runs: dict[int, list[int]] = {}
        for tick in wanted:
            runs.setdefault(self.timeline.run_to(tick)[0], []).append(tick)
        for first, ticks in runs.items():
            last = max(self.timeline.run_to(tick)[1] for tick in ticks)
            yield from _picked(self.decode(first, last), deque(ticks))

    def decode(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, Any]]:
        """(tick, frame) for the frames of packets ``first`` to ``last``, in the order of showing."""
        import av

        context, timeline = self.stream.codec_context, self.timeline
        count = 0
        for packet in chain(self._packets(first, last), [None]):
            try:
                frames = context.decode(packet)
            except MemoryError:
                raise
            except av.error.FFmpegError as error:
                log.debug("%s: a packet was skipped: %s", self.path.name, error)
                continue
            for frame in frames:
                tick = frame.pts
                if timeline.ordinal:
                    tick = int(timeline.ticks[min(count, len(timeline.ticks) - 1)])
                count += 1
                # Pictures before an open group's key frame lack their reference: they are not used.
                if tick is not None and (timeline.ordinal or tick >= timeline.pts[first]):
                    yield tick, frame
        context.flush_buffers()

    def upright(self, frame: Any) -> tuple[int, int, int]:
        """Width and height of a frame as it is shown, and the quarter turns (anticlockwise) to get there."""
        turns = round(frame.rotation / 90) % 4
        width = max(1, round(frame.width * self.pixel_aspect))
        return (frame.height, width, turns) if turns % 2 else (width, frame.height, turns)

    # ------------------------------------------------------------------ packets
    def _open(self) -> None:
        import av

        if hasattr(self, "container"):
            self.close()
        try:
            self.container = av.open(
                str(self.path.absolute()), container_options=OPEN_OPTIONS, metadata_errors="replace"
            )
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            log.debug("%s: %s", self.path.name, error)
            raise VideoError(self.path, *_why_closed(self.path)) from error
        pictures = [s for s in self.container.streams.video if "attached_pic" not in str(s.disposition)]
        if not pictures or pictures[0].codec_context is None:
            self.close()
            reason = "its picture format is unknown" if pictures else "it holds no moving picture"
            raise VideoError(self.path, reason, f"choose a file with a video track, or {RESAVE}")
        self.stream = pictures[0]
        context = self.stream.codec_context
        context.thread_type = "AUTO"
        context.thread_count = min(4, os.cpu_count() or 1)
        if self._limits is not None:
            # The header may understate the size; the decoder then refuses by itself.
            context.options = {"max_pixels": str(self._limits.max_pixels * 11 // 10)}
        self._reader, self._next = self._demuxed(), 0

    def _demuxed(self) -> Iterator[Any]:
        import av

        try:
            for packet in self.container.demux(self.stream):
                if packet.size and (packet.pts is not None or packet.dts is not None):
                    yield packet
        except MemoryError:
            raise
        except av.error.FFmpegError as error:
            log.debug("%s: reading ended early: %s", self.path.name, error)

    def _packets(self, first: int, last: int | None) -> Iterator[Any]:
        if not 0 <= first - self._next <= NEAR_PACKETS and not self._seek(first):
            self._open()
        for packet in self._reader:
            self._next += 1
            if self._next > first:
                yield packet
            if last is not None and self._next > last:
                return

    def _seek(self, number: int) -> bool:
        """Put the reader before packet ``number``; False where the file does not lead there."""
        import av

        pts, dts = int(self.timeline.pts[number]), int(self.timeline.dts[number])
        try:
            self.container.seek(pts, stream=self.stream)
        except av.error.FFmpegError:
            return False
        reader = self._demuxed()
        for packet in reader:
            if packet.pts == pts and packet.dts == dts:
                self._reader, self._next = chain([packet], reader), number
                return True
            if packet.dts is not None and packet.dts > dts:
                break
        return False

    def _scan(self) -> Timeline:
        rows = []
        for packet in self._demuxed():
            pts = packet.dts if packet.pts is None else packet.pts
            dts = pts if packet.dts is None else packet.dts
            rows.append((pts, dts, packet.is_keyframe, not packet.is_discard, packet.duration or 0))
        table = np.array(rows, dtype=np.int64).reshape(-1, 5)
        shown = table[:, 3] > 0
        if not shown.any():
            raise VideoError(self.path, "it holds no frames", "it may be cut short; export it again")
        pts, dts = table[:, 0], table[:, 1]
        # AVI stores no time of showing, and for these codecs the library's guess at it is wrong.
        guessed = self.container.format.name == "avi" and self.codec in ("h264", "hevc")
        ordinal = guessed and bool((pts != dts).any())
        ticks = np.unique((dts if ordinal else pts)[shown])
        tick_s = float(self.stream.time_base or 0) or 1e-3
        last_ticks = int(table[shown, 4][np.argmax(pts[shown])])
        if last_ticks <= 0:
            rate = float(self.stream.average_rate or 0)
            usual = np.median(np.diff(ticks)) if len(ticks) > 1 else 1 / (rate * tick_s) if rate else 0
            last_ticks = int(usual)
        return Timeline(pts, dts, table[:, 2] > 0, ticks, last_ticks, tick_s, ordinal)

    # ------------------------------------------------------------------ limits
    def _check_pixels(self) -> None:
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if self._limits is not None and width * height > self._limits.max_pixels:
            allowed = f"{self._limits.max_pixels / 1e6:.1f} megapixels are allowed"
            advice = "scale the clip down, or raise limits.max_pixels"
            raise VideoError(self.path, f"its picture is {width}x{height} and {allowed}", advice)

    def _check_duration(self) -> None:
        duration_s = self.timeline.duration_s
        if self._limits is not None and duration_s > self._limits.max_duration_s:
            allowed = f"{self._limits.max_duration_s:.0f} s are allowed"
            advice = "cut the clip, or raise limits.max_duration_s"
            raise VideoError(self.path, f"it lasts {duration_s:.0f} s and {allowed}", advice)


def _picked(frames: Iterator[tuple[int, Any]], wanted: deque[int]) -> Iterator[tuple[int, int, Any]]:
    """For each wanted tick the last frame that appeared by then, holding one frame at a time."""
    best: tuple[int, Any] | None = None
    for tick, frame in frames:
        while wanted and tick > wanted[0]:
            yield wanted.popleft(), *(best or (tick, frame))
        best = tick, frame
        if wanted and tick == wanted[0]:
            yield wanted.popleft(), *best
    if best is not None:
        yield from ((tick, *best) for tick in wanted)


def _why_closed(path: Path) -> tuple[str, str]:
    """Reason and advice for a file that PyAV does not open, from its first bytes."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return "its index is missing or damaged", "the recording or upload was cut short; export it again"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"RIFF")) and head[8:12] != b"AVI ":
        return "it is not a video but a picture or sound file", "choose a video file"
    return "it is not a video file that can be read", f"check that the file is whole, or {RESAVE}"
