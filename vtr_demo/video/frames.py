"""From a file to frames: `path -> FrameBatch`, in this process or in a guarded one.

`video_source` lists the packets of a file and decodes chosen frames, `video_reader` holds the two readers,
`video_convert` makes copies for browsers, `video_worker` is the guarded process. This file is their door.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vtr_demo.config import LimitConfig, VideoConfig
from vtr_demo.errors import ConfigError, VideoError
from vtr_demo.structures import CropBox, FrameBatch
from vtr_demo.video import sandbox
from vtr_demo.video.reader import (
    Clip,
    VideoInfo,
    check_seconds,
    describe,
    read_clip,
    spread_seconds,
    square_box,
    square_view,
)
from vtr_demo.video.sandbox import close_workers

__all__ = [
    "VideoInfo",
    "close_workers",
    "convert_for_browser",
    "probe",
    "probe_guarded",
    "read_frames",
    "read_frames_guarded",
    "spread_seconds",
    "still_frames",
]

_TRUSTED = LimitConfig(max_bytes=2**62, max_duration_s=math.inf, max_pixels=2**31)


# ---------------------------------------------------------------------- looking
def probe(path: str | Path) -> VideoInfo:
    """What a trusted file holds, from its time stamps and its first frame; VideoError if nothing."""
    return describe(_checked(path))


def probe_guarded(path: str | Path, *, limits: LimitConfig) -> VideoInfo:
    """As `probe`, for a file of unknown origin: in a worker, within ``limits``."""
    values, _ = sandbox.call("describe", _checked(path, limits), {}, limits)
    return VideoInfo(**{name: values[name] for name in VideoInfo.__dataclass_fields__})


# ---------------------------------------------------------------------- reading
def read_frames(
    path: str | Path, seconds: Sequence[float] | int, *, size: int, config: VideoConfig
) -> FrameBatch:
    """The frames shown at ``seconds``, as (T, size, size, 3), for a trusted file.

    Seconds count from the first frame and follow the file's time stamps: a frame is shown from its stamp
    until the next one's. An int stands for so many moments spread evenly over what is really there. A
    clip with fewer frames than asked repeats them; times past the end give the last frame. The seconds
    of the batch are those at which its frames appear. Raises VideoError, or ConfigError where decord
    is asked for but not installed. decord always works in a guarded process (it can hang, DESIGN 4).
    """
    if config.reader == "decord":
        return read_frames_guarded(path, seconds, size=size, config=config, limits=_TRUSTED)
    return _batch(read_clip(_checked(path), seconds, size=size, fit=config.fit, reader="pyav"))


def read_frames_guarded(
    path: str | Path, seconds: Sequence[float] | int, *, size: int, config: VideoConfig, limits: LimitConfig
) -> FrameBatch:
    """As `read_frames`, for a file of unknown origin: in a worker, within ``limits``.

    A hang, a crash or too much memory ends the worker and raises VideoError.
    """
    if config.reader == "decord" and importlib.util.find_spec("decord") is None:
        raise ConfigError('The decord reader is not installed on this machine; set video.reader to "pyav".')
    check_seconds(seconds, 0.0)  # what the caller got wrong is refused here, not in the worker
    wanted = seconds if isinstance(seconds, int) else [float(second) for second in seconds]
    arguments = {"seconds": wanted, "size": size, "fit": config.fit, "reader": config.reader}
    values, payload = sandbox.call("frames", _checked(path, limits), arguments, limits)
    pixels = np.frombuffer(payload, np.uint8).reshape(-1, size, size, 3).copy()
    return _batch(Clip(pixels, np.array(values["seconds"]), tuple(values["box"]), values["duration_s"]))


def still_frames(image_path: str | Path, *, size: int, config: VideoConfig) -> FrameBatch:
    """A photo as a clip of one frame at second 0 and of no duration, turned upright by its EXIF tag."""
    from PIL import Image, ImageOps

    path = _checked(image_path)
    advice = "save it again as JPEG or PNG"
    try:
        with Image.open(path) as opened:
            swapped = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            stored = opened.size
            opened.draft("RGB", (2 * size, 2 * size))  # JPEG only: decodes at a fraction of the size
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            picture = np.asarray(image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise VideoError(path, "the picture is too large", "scale it down") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise VideoError(path, "it is not a picture that can be read", advice) from error
    box = square_box(*(stored[::-1] if swapped else stored), config.fit)
    return _batch(Clip(square_view(picture, box, size)[None], np.zeros(1), box, 0.0))


# ---------------------------------------------------------------------- converting
def convert_for_browser(
    path: str | Path, target: str | Path, *, limits: LimitConfig, max_side: int = 960
) -> Path:
    """Write a copy that browsers play (H.264 4:2:0, AAC, MP4, upright, index in front) to ``target``.

    The longer side is ``max_side`` pixels at most; sound that cannot be carried over is left out. Works in
    a guarded worker, which gets limits.decode_timeout_s and the clip's own duration as time. The copy
    appears at once and whole, or not at all.
    """
    target = Path(target)
    source = _checked(path, limits)
    timeout_s = limits.decode_timeout_s + probe_guarded(source, limits=limits).duration_s
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        arguments = {"target": str(part.absolute()), "max_side": max_side}
        sandbox.call("convert", source, arguments, limits, timeout_s)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _checked(path: str | Path, limits: LimitConfig | None = None) -> Path:
    """The path of a regular, readable, not empty file within the size limit."""
    path = Path(path)
    try:
        if not path.is_file():
            missing = "it is not a file" if path.exists() else "the file does not exist"
            raise VideoError(path, missing, "check the path")
        with path.open("rb"):
            size = path.stat().st_size
    except OSError as error:
        raise VideoError(path, f"it cannot be opened ({error.strerror})", "check its permissions") from error
    if size == 0:
        raise VideoError(path, "the file is empty", "copy or upload it again")
    if limits is not None and size > limits.max_bytes:
        allowed = f"{limits.max_bytes / 2**20:.0f} MiB are allowed"
        advice = "cut or compress the clip, or raise limits.max_bytes"
        raise VideoError(path, f"it has {size / 2**20:.0f} MiB and {allowed}", advice)
    return path


def _batch(clip: Clip) -> FrameBatch:
    return FrameBatch(clip.pixels, clip.seconds, CropBox(*clip.box), clip.duration_s)
