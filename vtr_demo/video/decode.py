"""A video file as PyAV sees it: its packets, and the frames at chosen times.

It is read in two passes. The first lists the packets without decoding them (`Timeline`): time stamps,
key frames, and how much of a truncated file is really there. The second seeks once per group of pictures
and feeds the decoder exactly the packets from the key frame to the wanted frame. A seek that lands
elsewhere than announced, as in MPEG-TS, is noticed, and the file is read from its start instead; so is a
file whose packets carry decoder state that later ones do not repeat.
"""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.errors import VideoError
from vtr_demo.video import confine
from vtr_demo.video.confine import LimitConfig
from vtr_demo.video.timeline import NO_TIME, PacketRow, Timeline, build_timeline

log = logging.getLogger("vtr_demo.video")

CODECS = frozenset((
    "h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v1", "msmpeg4v2",
    "msmpeg4v3", "h263", "flv1", "vp6", "vp6f", "wmv1", "wmv2", "wmv3", "vc1", "theora", "mjpeg",
    "prores", "dnxhd", "dvvideo", "gif", "png", "rawvideo", "v210", "ffv1", "huffyuv", "ffvhuff",
    "qtrle", "cinepak", "msrle", "msvideo1", "svq1", "svq3",
))  # fmt: skip
"""Pictures that are decoded. FFmpeg knows some 200 more formats, rarely used and rarely looked after."""
SOUND_CODECS = frozenset((
    "aac", "ac3", "eac3", "alac", "amr_nb", "amr_wb", "flac", "mp1", "mp2", "mp3", "opus", "vorbis",
    "wmav1", "wmav2", "pcm_alaw", "pcm_mulaw", "pcm_u8", "pcm_s16be", "pcm_s16le", "pcm_s24be",
    "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_f32be", "pcm_f32le", "adpcm_ms", "adpcm_ima_wav",
))  # fmt: skip
_DECODERS = CODECS | SOUND_CODECS | {"libdav1d", "libopus", "msmpeg4", "flv", "mp3float", "mp2float", "amrnb", "amrwb"}
OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,mxf",
    # This one counts only while FFmpeg probes the streams; afterwards `Source` looks at their names.
    "codec_whitelist": ",".join(sorted(_DECODERS)),
}
"""What may be opened. Playlists, picture lists and text are left out: they can name other files and
addresses, which an uploaded file must not do."""
RESAVE = "re-save the clip as H.264 MP4"
THREADS = min(4, os.cpu_count() or 1)
"""Threads of a decoder, of a filter or of an encoder; each reserves address space."""
NEAR_PACKETS = 256
"""A key frame at most so many packets ahead is reached by reading on, not by seeking."""
LATE_S = 0.05
"""A film that starts so late after second 0 of its file (or of its sound) plays beside the seconds read here."""
_STATE = ("new_extradata", "palette", "param_change")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"8BPS", b"\xff\x0a", b"\0\0\0\x0cJXL ")
"""First bytes of PNG, JPEG, TIFF, BMP, PSD and JPEG XL."""
_PICTURE_BRANDS = (b"ftypavif", b"ftypavis", b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1")
_STILLS = ("attached_pic", "timed_thumbnails", "still_image")
_PREDICTED = (2, 3, 4)
"""FFmpeg's numbers of P, B and S pictures."""
_RETRIES = (0, 3, math.inf)
"""Key frames to start earlier where a decoder, started at one, does not show the wanted frame: a recovery
point of an intra-refresh stream is flagged as a key frame, and shows nothing until the next but one."""


@cache
def library_errors() -> tuple[type[Exception], ...]:
    """What PyAV may raise on a damaged file; a MemoryError, which may be among them, `damage` raises on."""
    import av

    return (
        av.error.FFmpegError, OSError, ValueError, ArithmeticError, LookupError, RuntimeError,
        TypeError, EOFError,
    )  # fmt: skip


def damage(error: Exception) -> str:
    """What a library said of a damaged file; too little memory is no damage and is raised on."""
    if isinstance(error, MemoryError):
        raise error
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


class Source:
    """A video file read by PyAV: its main video stream and its timeline. Use it in a `with` statement."""

    def __init__(self, path: str | Path, limits: LimitConfig | None = None) -> None:
        from av.video.reformatter import VideoReformatter

        self.path = Path(path)
        self.ended_early = ""
        """Why reading ended before the end of the file; empty where it did not."""
        self.orientations: dict[int, Any] = {}
        """How frames are brought upright, by the rotation that they name."""
        self.reformatter = VideoReformatter()
        """Used for all frames: its tables of HDR take three seconds to make, and no threads are left behind."""
        self._limits = limits
        self._index: int | None = None
        self._failed_packets = 0
        self._open()
        try:
            self.timeline = self._scan()
            self._check_pixels()
            self._check_duration()
            context = self.stream.codec_context
            confine.allow_for(self.timeline.duration_s, len(self.timeline.pts), context.width * context.height)
            self._open()
            self._skip_leading_pictures()
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
        return _codec(self.stream)

    @property
    def pixel_aspect(self) -> float:
        """Width over height of a stored pixel; 1 where the file says nothing sensible."""
        aspect = float(self.stream.sample_aspect_ratio or 1)
        return aspect if 0.25 < aspect < 4 else 1.0

    @property
    def is_plain(self) -> bool:
        """True where any player shows the same stream on the same clock: one video stream, no restarts, from 0."""
        late_s = abs(float(self.timeline.ticks[0]) * self.timeline.tick_s)
        return len(self.container.streams.video) == 1 and not self.timeline.in_order and late_s < LATE_S

    def size(self, frame: Any, transposed: bool) -> tuple[int, int]:
        """Width and height of a frame as it is shown: upright, with square pixels."""
        width = max(1, round(frame.width * self.pixel_aspect))
        return (frame.height, width) if transposed else (width, frame.height)

    # ------------------------------------------------------------------ frames
    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
        """(wanted tick, its own tick, frame) for ascending ticks, in the order in which they are decoded.

        What cannot be decoded is left out. Where a decoder that starts at the key frame does not show the
        wanted frame though nothing is damaged, it starts earlier.
        """
        left = list(wanted)
        for earlier in _RETRIES:
            runs: dict[int, list[int]] = {}
            for tick in left:
                runs.setdefault(self.timeline.run_to(tick, earlier)[0], []).append(tick)
            left = []
            for first, ticks in runs.items():
                last = max(self.timeline.run_to(tick)[1] for tick in ticks)
                failed, missing = self._failed_packets, set(ticks)
                for tick, own, frame in _picked(self.decode(first, last), deque(ticks)):
                    near = self.timeline.before(tick) <= own <= tick
                    doubtful = not near or (frame.is_corrupt and earlier == 0)
                    if first == 0 or not doubtful or self._failed_packets > failed:
                        missing.discard(tick)
                        yield tick, own, frame
                if first > 0 and self._failed_packets == failed:
                    left += sorted(missing)

    def decode(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, Any]]:
        """(tick, frame) for the frames of packets ``first`` to ``last``, in the order of showing."""
        context, timeline = self.stream.codec_context, self.timeline
        untimed = iter(timeline.ticks[:0])
        if timeline.untimed is not None:
            untimed = iter(np.sort(timeline.pts[timeline.untimed]))
        shown = 0
        for packet in chain(self._packets(first, last), [None]):
            try:
                frames = context.decode(packet)
            except library_errors() as error:
                log.debug("%s: a packet was skipped: %s", self.path.name, damage(error))
                self._failed_packets += 1
                continue
            for frame in frames:
                tick = frame.pts
                if first > 0 and not shown and tick == timeline.pts[first] and _is_predicted(frame):
                    log.debug("%s: packets are flagged as key frames that are none", self.path.name)
                    self.timeline = replace(timeline, in_order=True)
                    context.flush_buffers()
                    return
                if timeline.ordinal:
                    tick = int(timeline.ticks[min(shown, len(timeline.ticks) - 1)])
                elif timeline.retimed:
                    number = frame.opaque
                    tick = None if number is None else int(timeline.pts[number])
                    # Decoders give frames in the order of showing, which is the order of their times.
                    if number is not None and timeline.untimed is not None and timeline.untimed[number]:
                        tick = int(next(untimed, timeline.pts[number]))
                shown += 1
                # Pictures before an open group's key frame lack their reference: they are not used.
                if tick is not None and (first == 0 or tick >= timeline.pts[first]):
                    yield tick, frame
        context.flush_buffers()

    def _skip_leading_pictures(self) -> None:
        """Let a film that was cut between key frames begin with the first picture that can be shown."""
        timeline = self.timeline
        if timeline.ordinal or (timeline.is_key[0] and timeline.ticks[0] >= timeline.pts[0]):
            return
        whole = ((tick, frame) for tick, frame in self.decode() if not frame.is_corrupt)
        tick = next(whole, (timeline.ticks[0], None))[0]
        self.timeline = replace(timeline, ticks=timeline.ticks[timeline.ticks >= min(tick, timeline.ticks[-1])])
        self._open()

    # ------------------------------------------------------------------ packets
    def _open(self) -> None:
        import av

        if hasattr(self, "container"):
            self.close()
        try:
            self.container = av.open(
                str(self.path.absolute()), container_options=OPEN_OPTIONS, metadata_errors="replace"
            )
        except library_errors() as error:
            log.debug("%s: %s", self.path.name, damage(error))
            raise VideoError(self.path, *_why_closed(self.path)) from error
        if self._index is None:
            self._index = self._film_streams()[0].index
        self.stream: Any = self.container.streams[self._index]
        context = self.stream.codec_context
        context.thread_type = "AUTO"
        context.thread_count = THREADS
        context.copy_opaque = True  # a frame tells the number of its packet
        if self._limits is not None:
            # The header may understate the size; the decoder then refuses by itself.
            context.options = {"max_pixels": str(self._limits.max_pixels * 11 // 10)}
        self._reader, self._next = self._demuxed([self.stream]), 0

    def _film_streams(self) -> list[Any]:
        """The streams that may be the film; cover art is left out."""
        from av.stream import Disposition

        stills = Disposition(0)
        for name in _STILLS:
            stills |= Disposition[name]
        moving = [s for s in self.container.streams.video if not s.disposition & stills]
        known = [s for s in moving if s.codec_context is not None]
        if read := [s for s in known if _codec(s) in CODECS]:
            return read
        self.close()
        if known:
            raise VideoError(self.path, f"its pictures are stored as {_codec(known[0])}, which is not read", RESAVE)
        reason = "its picture format is unknown" if moving else "it holds no moving picture"
        raise VideoError(self.path, reason, f"choose a file with a video track, or {RESAVE}")

    def _demuxed(self, streams: list[Any]) -> Iterator[Any]:
        try:
            for packet in self.container.demux(streams):
                if packet.size:
                    yield packet
        except library_errors() as error:
            self.ended_early = damage(error)
            log.debug("%s: reading ended early: %s", self.path.name, error)

    def _packets(self, first: int, last: int | None) -> Iterator[Any]:
        if not 0 <= first - self._next <= NEAR_PACKETS and not self._seek(first):
            self._open()
        for packet in self._reader:
            if self.timeline.retimed and self._next < len(self.timeline.pts):
                packet.opaque = self._next
            self._next += 1
            if self._next > first:
                yield packet
            if last is not None and self._next > last:
                return

    def _seek(self, number: int) -> bool:
        """Put the reader before packet ``number``; False where the file does not lead there."""
        if self.timeline.in_order:
            return False
        pts, dts = int(self.timeline.pts[number]), int(self.timeline.dts[number])
        try:
            self.container.seek(pts, stream=self.stream)
        except library_errors() as error:
            log.debug("%s: no seeking: %s", self.path.name, damage(error))
            return False
        reader = self._demuxed([self.stream])
        for packet in reader:
            if packet.pts == pts and packet.dts == dts:
                self._reader, self._next = chain([packet], reader), number
                return True
            if packet.dts is not None and packet.dts > dts:
                break
        return False

    def _scan(self) -> Timeline:
        """List the packets of the film.

        Of several streams it is one with a tenth of the pictures of the fullest (else it is a row of
        thumbnails), marked as default, and of these the largest one, as FFmpeg chooses.
        """
        streams = self._film_streams()
        rows: dict[int, list[PacketRow]] = {stream.index: [] for stream in streams}
        for packet in self._demuxed(streams):
            rows[packet.stream_index].append(
                PacketRow(
                    NO_TIME if packet.pts is None else packet.pts,
                    NO_TIME if packet.dts is None else packet.dts,
                    packet.is_keyframe,
                    not packet.is_discard,
                    packet.duration or 0,
                    any(packet.has_sidedata(name) for name in _STATE),
                )
            )
        counts = {s.index: sum(row.is_shown for row in rows[s.index]) for s in streams}
        few = max(1, max(counts.values()) // 10)
        film = max(streams, key=lambda s: (counts[s.index] > few, *_rank(s)))
        if film.index != self._index:
            self._index = film.index
            self._open()
        packets = rows[self.stream.index]
        if not any(row.is_shown for row in packets):
            raise VideoError(self.path, "it holds no frames", "it may be cut short; export it again")
        name = self.container.format.name
        # AVI stores no time of showing, and for these codecs the library's guess at it is wrong.
        timeline = build_timeline(
            packets,
            tick_s=float(self.stream.time_base or 0) or 1e-3,
            fps=float(self.stream.average_rate or 0),
            ordinal=name == "avi" and self.codec in ("h264", "hevc"),
            restarts=name in ("mpegts", "mpeg"),
        )
        if name.startswith(("matroska", "mov")) and not self.ended_early:
            self._compare_with_header(timeline.duration_s)
        return timeline

    def _compare_with_header(self, duration_s: float) -> None:
        """Note where the header promises more of the film: these formats end a cut file without an error."""
        stated_s = float((self.stream.duration or 0) * self.stream.time_base)
        if not stated_s and len(self.container.streams) == 1:  # else it may be the sound's
            stated_s = (self.container.duration or 0) / 1e6
        if stated_s - duration_s > max(1.0, stated_s / 20):
            self.ended_early = f"the header says {stated_s:.1f} s"

    # ------------------------------------------------------------------ limits
    def _check_pixels(self) -> None:
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if self._limits is not None and width * height > self._limits.max_pixels:
            allowed = f"{self._limits.max_pixels / 1e6:.1f} megapixels are allowed"
            advice = "scale the clip down, or raise the limit with --limits max_pixels=N"
            raise VideoError(self.path, f"its picture is {width}x{height} and {allowed}", advice)

    def _check_duration(self) -> None:
        duration_s = self.timeline.duration_s
        if self._limits is not None and duration_s > self._limits.max_duration_s:
            allowed = f"{self._limits.max_duration_s:.0f} s are allowed"
            advice = "cut the clip, or raise the limit with --limits max_duration_s=N"
            raise VideoError(self.path, f"it lasts {duration_s:.0f} s and {allowed}", advice)


def _codec(stream: Any) -> str:
    return str(stream.codec_context.codec.canonical_name)


def _rank(stream: Any) -> tuple[bool, int]:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.default), stream.codec_context.width * stream.codec_context.height


def _is_predicted(frame: Any) -> bool:
    return not frame.key_frame and frame.pict_type in _PREDICTED


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
    if head.startswith(_PICTURES) or head[8:12] == b"WEBP" or head[4:12] in _PICTURE_BRANDS:
        return "it is a picture, not a film", "search with it by --like, and convert an animated one to GIF or MP4"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return "its index is missing or damaged", "the recording or upload was cut short; export it again"
    if head.startswith((b"RIFF", b"ID3", b"fLaC")) and head[8:12] != b"AVI ":
        return "it is not a video but a sound file", "choose a video file"
    return "it is not a video file that can be read", f"check that the file is whole, or {RESAVE}"
