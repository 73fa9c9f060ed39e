"""A copy of a video that every browser plays: H.264 4:2:0 and AAC in MP4, upright, its index in front."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from vtr_demo.errors import VideoError
from vtr_demo.video.confine import LimitConfig
from vtr_demo.video.decode import OPEN_OPTIONS, RESAVE, SOUND_CODECS, THREADS, Source, damage, library_errors
from vtr_demo.video.reader import BT709, Orientation, monitor_filters, orientation_of, settle_tags
from vtr_demo.video.timeline import Timeline

log = logging.getLogger("vtr_demo.video")

CLOCK = Fraction(1, 90_000)
"""A tick of the copy in seconds: fine enough for any frame rate, so variable rates keep their times."""


def convert(path: str | Path, target: str | Path, *, max_side: int, limits: LimitConfig | None = None) -> None:
    """Write the copy to ``target``: longer side at most ``max_side`` pixels, first frame at second 0.

    Sound that cannot be carried over is left out.
    """
    for sound in (True, False):
        try:
            return _convert(path, target, max_side, limits, sound=sound)
        except library_errors() as error:
            reason = damage(error)
            log.info("%s: the copy %s sound failed: %s", Path(path).name, "with" if sound else "without", error)
    raise VideoError(path, f"it could not be converted ({reason})", RESAVE)


def _convert(path: str | Path, target: str | Path, max_side: int, limits: LimitConfig | None, *, sound: bool) -> None:
    import av

    options = {"movflags": "+faststart"}
    with (
        Source(path, limits) as source,
        av.open(str(source.path.absolute()), container_options=OPEN_OPTIONS, metadata_errors="replace") as heard,
        av.open(str(target), "w", format="mp4", container_options=options) as copy,
    ):
        # Both streams exist before the first packet is written: the file's header names them.
        packets = [_pictures(source, copy, max_side)]
        tracks = [s for s in heard.streams.audio if s.codec_context is not None] if sound else []
        if tracks and tracks[0].codec_context.codec.canonical_name in SOUND_CODECS:
            packets.append(_sound(heard, copy, source.timeline))
        for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
            copy.mux(packet)


def _pictures(source: Source, copy: Any, max_side: int) -> Iterator[Any]:
    frames = source.decode()
    first = next(frames, None)
    if first is None:
        raise VideoError(source.path, "none of its pictures could be decoded", RESAVE)
    width, height = source.size(first[1], orientation_of(source, first[1]).transposed)
    scale = min(1.0, max_side / max(width, height))
    rate = Fraction(source.stream.average_rate or 25).limit_denominator(1001)
    stream = copy.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "veryfast", "bf": "0"})
    context = stream.codec_context
    context.width, context.height = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    context.pix_fmt, context.time_base, context.thread_count = "yuv420p", CLOCK, THREADS
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = 1  # limited
    context.gop_size = max(1, round(2 * rate))  # after a click the player decodes two seconds at most
    return _encoded_pictures(source, context, stream, chain([first], frames))


def _encoded_pictures(source: Source, context: Any, stream: Any, frames: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    timeline = source.timeline
    starts = [round(timeline.second(tick) / CLOCK) for tick in timeline.ticks.tolist()]
    spans = {start: end - start for start, end in pairwise([*starts, round(timeline.duration_s / CLOCK)])}
    graph: Any = None
    shape: Any = None
    last = -1

    def encoded(picture: Any) -> Iterator[Any]:
        for packet in stream.encode(picture):
            packet.duration = spans.get(packet.pts, 1)  # else the last frame of the copy would last no time
            yield packet

    for tick, frame in frames:
        orientation = orientation_of(source, frame)
        new_shape = frame.width, frame.height, frame.format.name, frame.color_trc, orientation
        if shape != new_shape:
            shape, graph = new_shape, _upright_graph(source, frame, orientation, (context.width, context.height))
        settle_tags(frame)
        graph.push(frame)
        upright = graph.pull()
        upright.time_base, upright.pict_type = CLOCK, 0
        pts = max(last + 1, round(timeline.second(tick) / CLOCK))
        # What cannot be decoded at the start or the end is held, as by the reader: the copy lasts as long.
        for when in [0, pts] if last < 0 < pts else [pts]:
            upright.pts = last = when
            yield from encoded(upright)
    if last < starts[-1]:
        upright.pts = starts[-1]
        yield from encoded(upright)
    yield from encoded(None)


def _upright_graph(source: Source, frame: Any, orientation: Orientation, size: tuple[int, int]) -> Any:
    """Frames of this kind made upright, of the copy's ``size``; of other proportions, with bars."""
    import av

    shown = source.size(frame, orientation.transposed)
    scale = min(side / own for side, own in zip(size, shown, strict=True))
    width, height = (max(2, 2 * round(own * scale / 2)) for own in shown)
    bars = [("pad", f"{size[0]}:{size[1]}:(ow-iw)/2:(oh-ih)/2")]
    if max(size[0] - width, size[1] - height) <= 2:
        (width, height), bars = size, []
    steps = [*monitor_filters(frame, orientation, width, height), *bars]
    graph = av.filter.Graph()
    graph.threads = THREADS
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=CLOCK)]
    nodes += [graph.add(name, arguments) for name, arguments in steps]
    nodes.append(graph.add("buffersink"))
    for above, below in pairwise(nodes):
        above.link_to(below)
    graph.configure()
    return graph


def _sound(heard: Any, copy: Any, timeline: Timeline) -> Iterator[Any]:
    source = heard.streams.audio[0].codec_context
    rate = source.sample_rate if source.sample_rate in (44_100, 48_000) else 48_000
    stream = copy.add_stream("aac", rate=rate, layout="mono" if source.channels == 1 else "stereo")
    return _encoded_sound(heard, stream, timeline)


def _encoded_sound(heard: Any, stream: Any, timeline: Timeline) -> Iterator[Any]:
    start_s = float(timeline.ticks[0]) * timeline.tick_s
    shifts_s = [shift * timeline.tick_s for shift in timeline.shifts]
    stretch = 0
    expected_s: float | None = None
    for frame in _sound_frames(heard):
        if expected_s is None:
            expected_s = start_s if frame.time is None else float(frame.time)
        time_s = expected_s if frame.time is None else float(frame.time)
        # Where the pictures' clock restarts, so does that of the sound.
        if abs(time_s - expected_s) > 0.5 and stretch + 1 < len(shifts_s):
            stretch += 1
        expected_s = time_s + frame.samples / frame.sample_rate
        shown_s = time_s + shifts_s[stretch] - start_s
        if shown_s < 0:
            continue
        frame.time_base, frame.pts = Fraction(1, frame.sample_rate), round(shown_s * frame.sample_rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound_frames(heard: Any) -> Iterator[Any]:
    """What can be decoded of the first sound track; damage costs the packet, an unreadable file the rest."""
    try:
        for packet in heard.demux(heard.streams.audio[0]):
            try:
                frames = packet.decode()
            except library_errors() as error:
                log.debug("a packet of sound was skipped: %s", damage(error))
                continue
            yield from frames
    except library_errors() as error:
        log.debug("the sound ended early: %s", damage(error))
