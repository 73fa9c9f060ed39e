"""From a video file to plain arrays: the readers, held to the same frames, and upright pictures.

Nothing here imports torch, so that the worker process (`sandbox`) starts in a quarter of a second.
PyAV reads what people bring. decord (0.6, 2021) reads plain MP4, MOV, MKV, WebM and AVI quickly, but it
hangs for ever on MPEG-TS and cannot read AV1 or broken files, so those are refused before it sees them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtr_demo.errors import VideoError
from vtr_demo.video.confine import LimitConfig
from vtr_demo.video.decode import RESAVE, Source

VIDEO_EXTENSIONS = (
    ".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".3g2", ".ts",
    ".mts", ".m2ts", ".ogv", ".gif", ".asf", ".vob", ".f4v", ".ogm", ".mxf", ".divx", ".mpe", ".qt", ".m2t", ".mk3d",
)  # fmt: skip
"""Endings of video files, for the page and the command line alike; the preferred ones come first."""
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".jfif", ".avif")
"""Endings of photos, which stand beside clips in manifests."""

FRAMES_PER_SECOND = 2.0
"""How densely a clip with several moments is read; cuts are found at this resolution."""
POSTER_SIDE = 480
"""The longer side of a clip's poster in pixels."""

_ANIMATED = ("WEBP", "PNG", "AVIF")
"""Pictures of which one frame would not be all; the pages of a TIFF and the views of an MPO are."""
_CONTAINERS = {"matroska,webm": "mkv", "mpegts": "ts", "mpeg": "mpg"}
_USE_PYAV = 'use reader="pyav"'
_DECORD_REFUSES = {"ts": "it is MPEG-TS, on which decord hangs", "av1": "it is AV1, which decord cannot read"}
_PLAYABLE = {"mp4": ("h264", "av1"), "webm": ("vp8", "vp9", "av1")}

# FFmpeg's numbers for the tags of a stream (ISO/IEC 23091-2).
BT709 = 1
_UNSPECIFIED = 2
_BT2020 = 9
_PQ, _HLG = 16, 18
_LAST_MATRIX = 17
_PRIMARIES, _TRANSFERS = (1, *range(4, 13), 22), (1, *range(4, 19))  # those that are defined
_WIDE_PRIMARIES = (_BT2020, 11, 12)  # and DCI-P3, Display P3


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds: seconds from its time stamps, width and height as shown, fps on average."""

    duration_s: float
    width: int
    height: int
    fps: float
    codec: str
    container: str
    rotation: int
    """Degrees, clockwise, by which the stored picture is turned to stand upright: 0, 90, 180 or 270."""
    frame_count: int
    browser_playable: bool
    """True where the common browsers play it as it is: 8-bit 4:2:0 in a container and codec of theirs."""
    note: str = ""
    """What of the file could not be read; empty where all of it was."""


@dataclass(frozen=True)
class Clip:
    """Decoded frames: pixels (T, size, size, 3) uint8 RGB, seconds (T,) float64, first frame at 0.

    box is the square view in the upright picture: left, top, width, height, picture width and height.
    """

    pixels: np.ndarray
    seconds: np.ndarray
    box: tuple[int, int, int, int, int, int]
    duration_s: float


def spread_seconds(duration_s: float, count: int) -> list[float]:
    """The centres of ``count`` equal parts of a clip, in seconds."""
    if count < 1 or not 0 <= duration_s < float("inf"):
        raise ValueError(f"cannot spread {count} frames over {duration_s} s")
    return [duration_s * (2 * i + 1) / (2 * count) for i in range(count)]


@dataclass(frozen=True)
class Plan:
    """The seconds to read, ascending, and which of them stand for the whole clip."""

    seconds: tuple[float, ...]
    whole: tuple[int, ...]


def plan_frames(duration_s: float, *, clip_frames: int, moment_s: float, max_frames: int) -> Plan:
    """The evenly spread frames of the whole clip; in longer clips, a regular timeline between them."""
    whole = spread_seconds(duration_s, clip_frames)
    extra: list[float] = []
    if duration_s > 1.5 * moment_s:
        wanted = math.ceil(duration_s * FRAMES_PER_SECOND)
        extra = spread_seconds(duration_s, max(1, min(wanted, max_frames - len(whole))))
    seconds = sorted({*whole, *extra})
    places = {second: i for i, second in enumerate(seconds)}
    return Plan(tuple(seconds), tuple(places[second] for second in whole))


def describe(path: str | Path, limits: LimitConfig | None = None) -> VideoInfo:
    """Read the time stamps and decode the first frame; VideoError where there is none."""
    with Source(path, limits) as source:
        return _described(source)


def read_film(
    path: str | Path, *, size: int, fit: str, sampling: dict[str, Any], limits: LimitConfig | None = None
) -> tuple[VideoInfo, Clip, np.ndarray]:
    """What `describe` tells, the frames of `plan_frames`, and the middle one whole (H, W, 3), in one reading."""
    with Source(path, limits) as source:
        info = _described(source)
        seconds = plan_frames(info.duration_s, **sampling).seconds
        clip, frame = _read_source(source, seconds, size, fit)
        shape = poster_size(info.width, info.height)
        return info, clip, resized(to_rgb(source, frame, max(shape)), shape)


def poster_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the poster of a film."""
    scale = POSTER_SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _described(source: Source) -> VideoInfo:
    _, _, frame = _first(source)
    orientation = orientation_of(source, frame)
    width, height = source.size(frame, orientation.transposed)
    timeline, codec, container = source.timeline, source.codec, _container(source)
    playable = codec in _PLAYABLE.get(container, ()) and frame.format.name in ("yuv420p", "yuvj420p")
    playable = playable and source.is_plain and not orientation.is_mirror and not is_wide_gamut(frame)
    duration_s, count = timeline.duration_s, len(timeline.ticks)
    fps = count / duration_s if duration_s > 0 else 0.0
    note = f"reading ended at {duration_s:.1f} s ({source.ended_early})" if source.ended_early else ""
    return VideoInfo(duration_s, width, height, fps, codec, container, orientation.degrees, count, playable, note)


def read_clip(
    path: str | Path,
    seconds: Sequence[float] | int,
    *,
    size: int,
    fit: str,
    reader: str,
    limits: LimitConfig | None = None,
) -> Clip:
    """The frames shown at ``seconds`` (or so many, spread evenly) by the named reader."""
    if reader == "decord":
        return _read_decord(path, seconds, size, fit, limits)
    with Source(path, limits) as source:
        return _read_source(source, seconds, size, fit)[0]


def check_seconds(seconds: Sequence[float] | int, duration_s: float) -> list[float]:
    """Times to read at: an int is spread evenly; times must be finite, not negative and ascending."""
    if isinstance(seconds, int):
        return spread_seconds(duration_s, seconds)
    times = [float(second) for second in seconds]
    if not times or not all(0 <= a <= b < float("inf") for a, b in zip([0.0, *times], times, strict=False)):
        raise ValueError(f"seconds must be finite, not negative and ascending, got {times}")
    return times


# ---------------------------------------------------------------------- pictures
def square_box(width: int, height: int, fit: str) -> tuple[int, int, int, int, int, int]:
    """The view that the model gets of a picture: its largest centred square, or all of it ("squash")."""
    if fit == "squash":
        return 0, 0, width, height, width, height
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side, width, height


def square_view(picture: np.ndarray, box: tuple[int, ...], size: int) -> np.ndarray:
    """The view ``box`` of an upright picture (H, W, 3), stored at any scale, as (size, size, 3)."""
    left, top, width, height, full_width, full_height = box
    sx, sy = picture.shape[1] / full_width, picture.shape[0] / full_height
    return resized(picture, (size, size), (left * sx, top * sy, (left + width) * sx, (top + height) * sy))


def resized(
    picture: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """A picture (H, W, 3), or the part ``box`` of it, with another width and height."""
    from PIL import Image

    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, box=box))


def read_photo(path: str | Path, *, size: int, fit: str, limits: LimitConfig | None = None) -> Clip:
    """A photo as one frame at second 0, turned upright by its EXIF tag, transparency on white."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if opened.format in _ANIMATED and getattr(opened, "n_frames", 1) > 1:
                raise VideoError(path, "it is an animated picture", "convert it to GIF or MP4, which are read as films")
            swapped = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            stored = opened.size
            if limits is not None and stored[0] * stored[1] > limits.max_pixels:
                raise VideoError(path, f"the picture is too large ({stored[0]}x{stored[1]})", "scale it down")
            opened.draft("RGB", (2 * size, 2 * size))  # JPEG only: decodes at a fraction of the size
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            picture = np.asarray(image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise VideoError(path, "the picture is too large", "scale it down") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise VideoError(path, "it is not a picture that can be read", "save it again as JPEG or PNG") from error
    box = square_box(*(stored[::-1] if swapped else stored), fit)
    return Clip(square_view(picture, box, size)[None], np.zeros(1), box, 0.0)


# ---------------------------------------------------------------------- PyAV
def _read_source(source: Source, seconds: Sequence[float] | int, size: int, fit: str) -> tuple[Clip, Any]:
    """The frames at ``seconds``, and the middle one as PyAV gives it."""
    timeline = source.timeline
    wanted = [timeline.tick_at(second) for second in check_seconds(seconds, timeline.duration_s)]
    box: tuple[int, int, int, int, int, int] | None = None
    views: dict[int, tuple[int, np.ndarray]] = {}
    middle, nearest = wanted[len(wanted) // 2], (False, -math.inf)
    for tick, own, frame in source.frames(sorted(set(wanted))):
        width, height = source.size(frame, orientation_of(source, frame).transposed)  # may change on the way
        view = square_box(width, height, fit)
        box = box or view
        views[tick] = own, square_view(to_rgb(source, frame, size), view, size)
        place = (tick <= middle, tick if tick <= middle else -tick)
        if place > nearest:  # where the middle one is damaged, the frame before, as below
            nearest, shown = place, frame
    if box is None:
        raise _no_picture(source.path)
    # A tick whose frame is damaged shows the frame before it, as a player does; so does one for which
    # a damaged stream has an earlier frame than for the tick before.
    held = views[min(views)]
    rows = []
    for tick in wanted:
        row = views.get(tick, held)
        held = row if row[0] >= held[0] else held
        rows.append(held)
    shown_s = np.array([timeline.second(own) for own, _ in rows])
    return Clip(np.stack([view for _, view in rows]), shown_s, box, timeline.duration_s), shown


def _first(source: Source) -> tuple[int, int, Any]:
    """The first frame that can be decoded."""
    first = next(source.frames(source.timeline.ticks[:1].tolist()), None)
    if first is None:
        first = next(((tick, tick, frame) for tick, frame in source.decode()), None)
    if first is None:
        raise _no_picture(source.path)
    return first


def _no_picture(path: str | Path) -> VideoError:
    return VideoError(path, "none of its pictures could be decoded", RESAVE)


def _container(source: Source) -> str:
    name = source.container.format.name
    if name.startswith("mov,mp4"):
        brand = source.container.metadata.get("major_brand", "qt")
        return "mov" if brand.startswith("qt") else "3gp" if brand.startswith("3g") else "mp4"
    if name == "matroska,webm":
        # The two share a demuxer; the document type stands in the file's first bytes.
        with source.path.open("rb") as file:
            return "webm" if b"webm" in file.read(64) else "mkv"
    return _CONTAINERS.get(name, name)


# ---------------------------------------------------------------------- decord
def _read_decord(
    path: str | Path, seconds: Sequence[float] | int, size: int, fit: str, limits: LimitConfig | None
) -> Clip:
    import decord

    with Source(path, limits) as source:
        timeline, aspect, kind = source.timeline, source.pixel_aspect, {_container(source), source.codec}
    for refused, reason in _DECORD_REFUSES.items():
        if refused in kind:
            raise VideoError(path, reason, _USE_PYAV)
    starts = np.array([timeline.second(tick) for tick in timeline.ticks.tolist()])
    wanted = [timeline.tick_at(second) for second in check_seconds(seconds, timeline.duration_s)]
    numbers = np.searchsorted(timeline.ticks, wanted).tolist()
    views: dict[int, np.ndarray] = {}
    try:
        video = decord.VideoReader(str(Path(path).absolute()), ctx=decord.cpu(0), num_threads=1)
        stamps = np.asarray(video.get_frame_timestamp(np.arange(len(video))))[:, 0]
        # Where decord lists wrong times (H.264 with B frames in AVI, MPEG-PS), its frames are wrong too.
        if stamps.shape != starts.shape or np.abs(stamps - stamps[0] - starts).max() > 5e-3:
            raise VideoError(path, "decord does not find its frames at the right seconds", _USE_PYAV)
        for number, picture in _decord_pictures(video, sorted(set(numbers)), timeline.open_groups):
            box = square_box(max(1, round(picture.shape[1] * aspect)), picture.shape[0], fit)
            views[number] = square_view(picture, box, size)
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        raise VideoError(path, "decord cannot read it", _USE_PYAV) from error
    return Clip(np.stack([views[n] for n in numbers]), starts[numbers], box, timeline.duration_s)


def _decord_pictures(video: Any, numbers: list[int], in_order: bool) -> Iterator[tuple[int, np.ndarray]]:
    if not in_order:
        yield from ((number, video[number].asnumpy()) for number in numbers)
        return
    # After a seek into an open group decord miscounts (HEVC: two of eight frames wrong): read in order.
    wanted = set(numbers)
    for number in range(numbers[-1] + 1):
        picture = video.next()
        if number in wanted:
            yield number, picture.asnumpy()


# --------------------------------------------------------------------------- upright pictures
class Orientation(NamedTuple):
    """How a stored picture is brought upright: first transposed, then mirrored left-right and top-bottom."""

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    @property
    def is_mirror(self) -> bool:
        """True where the picture is seen as in a mirror, which no turn undoes."""
        return self.transposed ^ self.mirrored_x ^ self.mirrored_y

    @property
    def degrees(self) -> int:
        """Clockwise quarter turn to upright: 0, 90, 180 or 270; of a mirrored picture after flipping x."""
        right_side_up = self._replace(mirrored_x=self.mirrored_x ^ self.is_mirror)
        turns = {"000": 0, "110": 90, "011": 180, "101": 270}
        return turns["".join(str(int(flag)) for flag in right_side_up)]

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The upright picture (H, W, C) of a stored one."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        picture = picture[:, ::-1] if self.mirrored_x else picture
        return np.ascontiguousarray(picture[::-1] if self.mirrored_y else picture)

    @property
    def filters(self) -> list[tuple[str, str]]:
        """The same as FFmpeg's filters."""
        steps = [("transpose", "cclock_flip"), ("hflip", ""), ("vflip", "")]
        return [step for step, wanted in zip(steps, self, strict=True) if wanted]


def orientation_of(source: Source, frame: Any) -> Orientation:
    """Read the display matrix of a frame, to the nearest quarter turn, mirrored or not."""
    # A frame whose side data was looked at stays until the garbage collector runs (a cycle in PyAV), and
    # films of 4K have 12 MB a frame: so one frame is looked at, and another where the rotation changes.
    if frame.rotation not in source.orientations:
        source.orientations[frame.rotation] = _read_matrix(frame)
    return source.orientations[frame.rotation]


def _read_matrix(frame: Any) -> Orientation:
    from av.sidedata.sidedata import Type

    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    # A stored point (x, y) is shown at (a x + c y, b x + d y) (ISO/IEC 14496-12, 6.2.2).
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(int)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, bool(a < 0), bool(d < 0))
    return Orientation(True, bool(c < 0), bool(b < 0))


def is_wide_gamut(frame: Any) -> bool:
    """True for HDR (PQ, HLG), BT.2020 and P3 pictures, whose numbers mean other colours than a monitor's."""
    return frame.color_trc in (_PQ, _HLG) or frame.color_primaries in _WIDE_PRIMARIES


def settle_tags(frame: Any) -> None:
    """Give a frame the colour tags by which players show it, and swscale can.

    What no standard defines counts as untagged. Untagged HDR is BT.2020; other untagged pictures are BT.709
    in high definition, else BT.601.
    """
    if frame.color_primaries not in _PRIMARIES:
        frame.color_primaries = _UNSPECIFIED
    if frame.color_trc not in _TRANSFERS:
        frame.color_trc = _UNSPECIFIED
    if frame.format.is_rgb:
        return
    is_hdr, is_hd = frame.color_trc in (_PQ, _HLG), frame.width >= 1280 or frame.height > 576
    if is_hdr and frame.color_primaries == _UNSPECIFIED:
        frame.color_primaries = _BT2020
    if frame.colorspace in (0, _UNSPECIFIED, 3) or frame.colorspace > _LAST_MATRIX:
        frame.colorspace = _BT2020 if is_hdr else BT709 if is_hd else _UNSPECIFIED


def to_rgb(source: Source, frame: Any, size: int) -> np.ndarray:
    """The upright picture (H, W, 3) uint8 in BT.709 colours, at a scale that leaves ``size`` enough detail.

    Large pictures are first shrunk to twice the size in one C call: a 4K frame in RGB costs 25 MB. HDR is
    tone-mapped by swscale. Raises VideoError where it cannot convert the colours.
    """
    scale = min(1.0, 2 * size / min(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    settle_tags(frame)
    tone = {"dst_color_trc": BT709, "dst_color_primaries": BT709} if is_wide_gamut(frame) else {}
    try:
        rgb = source.reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1, **tone)
    except OSError as error:
        reason = f"its colours ({frame.format.name}, matrix {int(frame.colorspace)}) cannot be converted"
        raise VideoError(source.path, reason, RESAVE) from error
    return orientation_of(source, frame).apply(rgb.to_ndarray())


def monitor_filters(frame: Any, orientation: Orientation, width: int, height: int) -> list[tuple[str, str]]:
    """FFmpeg filters from a stored frame to an upright 8-bit 4:2:0 one in BT.709 of limited range."""
    settle_tags(frame)
    scale = f"{width}:{height}:flags=bicubic:out_range=tv:out_color_matrix=bt709"
    if is_wide_gamut(frame):
        scale += ":out_primaries=bt709:out_transfer=bt709"
    return [*orientation.filters, ("scale", scale), ("format", "yuv420p"), ("setsar", "1")]
