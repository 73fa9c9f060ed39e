"""Draws small videos whose content is known: frame numbers as black and white blocks, or a moving square.

    seconds = draw_clip(path, frames=30, fps=10)            # the second at which each frame appears
    numbers = [read_number(p) for p in batch.pixels]        # which frames were read

The number fills the largest centred square of the upright picture, as the model's view does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

Colour = tuple[int, int, int]

CLOCK = Fraction(1, 90_000)
_PIX_FMT = {
    "mjpeg": "yuvj420p", "gif": "rgb8", "png": "rgb24", "prores": "yuv422p10le",
    "qtrle": "rgb24", "huffyuv": "yuv422p", "ffv1": "yuv444p",
}  # fmt: skip
_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "10", "bf": "2", "b_strategy": "0"},
    "libx265": {"preset": "ultrafast", "crf": "10", "x265-params": "log-level=none:bframes=2:pools=1"},
    "libsvtav1": {"preset": "12", "crf": "20", "svtav1-params": "lp=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "2M", "auto-alt-ref": "1", "lag-in-frames": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
    "mpeg4": {"qscale": "3"},
}


def draw_clip(
    path: str | Path,
    *,
    frames: int = 30,
    fps: int = 10,
    size: tuple[int, int] = (320, 180),
    codec: str = "libx264",
    vfr: bool = False,
    colours: Sequence[Colour] | None = None,
    start_s: float = 0.0,
    **encoding: Any,
) -> list[float]:
    """Write a clip and give the second at which each frame appears, the first at 0.

    Frame i shows the number i, or the flat colour ``colours[i % len(colours)]``. ``size`` is the upright
    width and height. ``vfr``: frames last 1, 3, 1 and 2 units of 1/fps in turn. ``start_s`` delays all
    time stamps. ``encoding``: see ``write_video``.
    """
    units = np.cumsum([0] + [(1, 3, 1, 2)[i % 4] if vfr else 1 for i in range(frames - 1)])
    seconds = [float(unit) / fps for unit in units]

    def picture(i: int) -> np.ndarray:
        if colours is None:
            return number_picture(i, size)
        return np.full((size[1], size[0], 3), colours[i % len(colours)], dtype=np.uint8)

    ticks = [round((start_s + second) / CLOCK) for second in seconds]
    encoding["clock"] = CLOCK if vfr or start_s else None
    write_video(path, map(picture, range(frames)), ticks, fps=fps, codec=codec, **encoding)
    return seconds


def moving_square_clip(path: str | Path, *, frames: int = 30) -> list[tuple[float, int, int]]:
    """A red square of 40 pixels moves evenly down to the right, at 10 frames a second; gives (second, left, top) of
    each frame."""
    part = np.arange(frames) / max(1, frames - 1)
    lefts, tops = np.rint(70 + 140 * part).astype(int), np.rint(20 + 100 * part).astype(int)
    pictures = np.full((frames, 180, 320, 3), (40, 60, 90), dtype=np.uint8)
    for picture, left, top in zip(pictures, lefts, tops, strict=True):
        picture[top : top + 40, left : left + 40] = (220, 40, 40)
    write_video(path, pictures, range(frames), fps=10, codec="libx264")
    return [(i / 10, int(left), int(top)) for i, (left, top) in enumerate(zip(lefts, tops, strict=True))]


def number_picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3): ``number`` below 4096 as 4x4 blocks on the centred square; the corners tell what is up."""
    bits = [(number >> i) & 1 for i in range(12)]
    cells = np.array([1, *bits[:2], 0, *bits[2:10], 0, *bits[10:], 0]).reshape(4, 4)
    width, height = size
    side = min(size)
    row = np.arange(side) * 4 // side
    picture = np.full((height, width, 3), 128, dtype=np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    picture[top : top + side, left : left + side] = (cells[row][:, row] * 215 + 20)[..., None]
    return picture


def read_number(picture: np.ndarray) -> int:
    """The number in a square view (S, S, 3) of a drawn frame; fails where it is turned or unreadable."""
    side = len(picture)
    centres = (np.arange(4) * 2 + 1) * side // 8
    reach = max(1, side // 32)
    grey = picture.astype(float).mean(axis=2)
    cells = [grey[y - reach : y + reach + 1, x - reach : x + reach + 1].mean() for y in centres for x in centres]
    bits = [int(cell > 128) for cell in cells]
    assert all(abs(cell - 128) > 40 for cell in cells), f"the blocks are grey: {np.round(cells)}"
    assert [bits[i] for i in (0, 3, 12, 15)] == [1, 0, 0, 0], f"the picture is turned: {bits}"
    return sum(bit << i for i, bit in enumerate([*bits[1:3], *bits[4:12], *bits[13:15]]))


def write_video(
    path: str | Path,
    pictures: Any,
    ticks: Sequence[int],
    *,
    fps: int,
    codec: str,
    container: str | None = None,
    rotate: int = 0,
    clock: Fraction | None = None,
    gop: int = 12,
    pix_fmt: str | None = None,
    pixel_aspect: Fraction = Fraction(1),
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> None:
    """Encode (H, W, 3) pictures that appear at ``ticks`` of CLOCK; clock None counts frames (steady rate).

    With ``rotate`` (degrees clockwise) the picture is stored turned, with the tag that says so, as phones do;
    ``sound`` adds a tone; ``gop`` frames go from one key frame to the next.
    """
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder else fills the terminal
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=fps, options={**_OPTIONS.get(codec, {}), **(options or {})})
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        stream.pix_fmt = pix_fmt or _PIX_FMT.get(codec, "yuv420p")
        if pixel_aspect != 1:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if clock is not None:
            stream.codec_context.time_base = clock
        if rotate:
            stream.set_display_rotation(-rotate)
        tone = file.add_stream("aac", rate=44_100, layout="mono") if sound else None
        for i, (picture, tick) in enumerate(zip(pictures, ticks, strict=True)):
            stored = np.ascontiguousarray(np.rot90(picture, rotate // 90))
            if i == 0:
                stream.height, stream.width = stored.shape[:2]
            frame = av.VideoFrame.from_ndarray(stored, "rgb24")
            frame.pts, frame.time_base = (i, Fraction(1, fps)) if clock is None else (tick, clock)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if tone is not None:
            _hum(file, tone, float(ticks[-1] * CLOCK) + 1 / fps)


def copied(
    path: str | Path,
    target: str | Path,
    *,
    dropped: int = 0,
    shift_s: float = 0.0,
    options: dict[str, str] | None = None,
    bitstream: str = "null",
) -> None:
    """Copy the packets of a film, without the first ``dropped`` ones, later by ``shift_s``, through a filter."""
    with av.open(str(path)) as old, av.open(str(target), "w", options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        change = av.bitstream.BitStreamFilterContext(bitstream, old.streams.video[0], stream)
        numbered = enumerate(old.demux(video=0))
        kept = [packet for number, packet in numbered if packet.dts is not None and number >= dropped]
        for packet in [filtered for one in [*kept, None] for filtered in change.filter(one)]:
            shift = round(shift_s / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
            new.mux(packet)


def draw_sound(path: str | Path) -> None:
    """A file with a second of a tone and no picture."""
    with av.open(str(path), "w") as file:
        _hum(file, file.add_stream("aac", rate=44_100, layout="mono"), 1.0)


def _hum(file: Any, stream: Any, seconds: float) -> None:
    wave = np.sin(np.arange(int(seconds * 44_100)) * 2 * np.pi * 440 / 44_100)
    for start in range(0, len(wave), 1024):
        part = (wave[start : start + 1024] * 8000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 44_100, start
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
