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
from vtr_demo.limits import LimitConfig
from vtr_demo.video.decode import OPEN_OPTIONS, RESAVE, Source

log = logging.getLogger("vtr_demo.video")

CLOCK = Fraction(1, 90_000)
"""A tick of the copy in seconds: fine enough for any frame rate, so variable rates keep their times."""
_TURNS = {
    0: (),
    1: (("transpose", "cclock"),),
    2: (("hflip", ""), ("vflip", "")),
    3: (("transpose", "clock"),),
}


def convert(
    path: str | Path, target: str | Path, *, max_side: int, limits: LimitConfig | None = None
) -> None:
    """Write the copy to ``target``: longer side at most ``max_side`` pixels, first frame at second 0.

    Sound that cannot be carried over is left out.
    """
    import av

    try:
        _convert(path, target, max_side, limits, sound=True)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        log.info("%s: converting without its sound: %s", Path(path).name, error)
        try:
            _convert(path, target, max_side, limits, sound=False)
        except av.error.FFmpegError as again:
            raise VideoError(path, f"it could not be converted ({again.strerror})", RESAVE) from again


def _convert(
    path: str | Path, target: str | Path, max_side: int, limits: LimitConfig | None, *, sound: bool
) -> None:
    import av

    options = {"movflags": "+faststart"}
    with (
        Source(path, limits) as source,
        av.open(
            str(source.path.absolute()), container_options=OPEN_OPTIONS, metadata_errors="replace"
        ) as heard,
        av.open(str(target), "w", format="mp4", container_options=options) as copy,
    ):
        # Both streams exist before the first packet is written: the file's header names them.
        packets = [_pictures(source, copy, max_side)]
        if sound and heard.streams.audio:
            start_s = float(source.timeline.ticks[0]) * source.timeline.tick_s
            packets.append(_sound(heard, copy, start_s))
        for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
            copy.mux(packet)


def _pictures(source: Source, copy: Any, max_side: int) -> Iterator[Any]:
    frames = source.decode()
    first = next(frames, None)
    if first is None:
        raise VideoError(source.path, "none of its pictures could be decoded", RESAVE)
    width, height, _ = source.upright(first[1])
    scale = min(1.0, max_side / max(width, height))
    rate = Fraction(source.stream.average_rate or 25).limit_denominator(1001)
    stream = copy.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "veryfast"})
    context = stream.codec_context
    context.width, context.height = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    context.pix_fmt, context.time_base, context.thread_count = "yuv420p", CLOCK, 4
    context.gop_size = max(1, round(2 * rate))  # after a click the player decodes two seconds at most
    return _encoded_pictures(source, context, stream, chain([first], frames))


def _encoded_pictures(
    source: Source, context: Any, stream: Any, frames: Iterator[tuple[int, Any]]
) -> Iterator[Any]:
    timeline = source.timeline
    seconds = [timeline.second(tick) for tick in timeline.ticks.tolist()] + [timeline.duration_s]
    starts = [round(second / CLOCK) for second in seconds]
    spans = {start: end - start for start, end in pairwise(starts)}
    graph: Any = None
    shape: Any = None
    last = -1
    for tick, frame in frames:
        _, _, turns = source.upright(frame)
        if shape != (frame.width, frame.height, frame.format.name, turns):
            shape = frame.width, frame.height, frame.format.name, turns
            graph = _upright_graph(frame, turns, context.width, context.height)
        graph.push(frame)
        upright = graph.pull()
        last = max(last + 1, round(timeline.second(tick) / CLOCK))
        upright.pts, upright.time_base, upright.pict_type = last, CLOCK, 0
        yield from _spanned(stream.encode(upright), spans)
    yield from _spanned(stream.encode(None), spans)


def _spanned(packets: list[Any], spans: dict[int, int]) -> Iterator[Any]:
    for packet in packets:
        packet.duration = spans.get(packet.pts, 1)  # else the last frame of the copy would last no time
        yield packet


def _upright_graph(frame: Any, turns: int, width: int, height: int) -> Any:
    import av

    steps = [
        *_TURNS[turns],
        ("scale", f"{width}:{height}:flags=bicubic:out_range=tv"),
        ("format", "yuv420p"),
        ("setsar", "1"),
    ]
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=CLOCK)]
    nodes += [graph.add(name, arguments) for name, arguments in steps]
    nodes.append(graph.add("buffersink"))
    for above, below in pairwise(nodes):
        above.link_to(below)
    graph.configure()
    return graph


def _sound(heard: Any, copy: Any, start_s: float) -> Iterator[Any]:
    source = heard.streams.audio[0].codec_context
    rate = source.sample_rate if source.sample_rate in (44_100, 48_000) else 48_000
    stream = copy.add_stream("aac", rate=rate, layout="mono" if source.channels == 1 else "stereo")
    return _encoded_sound(heard, stream, start_s)


def _encoded_sound(heard: Any, stream: Any, start_s: float) -> Iterator[Any]:
    for frame in heard.decode(audio=0):
        if frame.time is None or frame.time < start_s:
            continue
        frame.time_base, frame.pts = (
            Fraction(1, frame.sample_rate),
            round((frame.time - start_s) * frame.sample_rate),
        )
        yield from stream.encode(frame)
    yield from stream.encode(None)
