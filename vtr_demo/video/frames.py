"""From a file to frames: `path -> FrameBatch`, in this process or in a guarded one.

`timeline` and `decode` list the packets of a file and decode chosen frames, `reader` holds the two readers
and makes frames what a player shows, `transcode` makes copies for browsers, `sandbox` runs all of
this in a guarded process that `confine` shuts off. This file is their door.
"""

from __future__ import annotations

import importlib.util
import math
import os
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.config import VideoConfig
from vtr_demo.errors import ConfigError, VideoError
from vtr_demo.structures import CropBox, FrameBatch
from vtr_demo.video import reader, sandbox
from vtr_demo.video.confine import LimitConfig
from vtr_demo.video.decode import RESAVE
from vtr_demo.video.reader import (
    Clip,
    Plan,
    VideoInfo,
    check_seconds,
    describe,
    poster_size,
    read_clip,
    read_photo,
    spread_seconds,
)
from vtr_demo.video.sandbox import close_workers

__all__ = [
    "LimitConfig",
    "Plan",
    "VideoInfo",
    "check_file",
    "close_workers",
    "convert_for_browser",
    "plan_frames",
    "probe",
    "probe_guarded",
    "read_film_guarded",
    "read_frames",
    "read_frames_guarded",
    "spread_seconds",
    "still_frames",
    "still_frames_guarded",
]

_TRUSTED = LimitConfig(max_bytes=2**62, max_duration_s=math.inf, max_pixels=2**31)


# ---------------------------------------------------------------------- looking
def probe(path: str | Path) -> VideoInfo:
    """What a trusted file holds, from its time stamps and its first frame; VideoError if nothing."""
    return describe(check_file(path))


def probe_guarded(path: str | Path, *, limits: LimitConfig) -> VideoInfo:
    """As `probe`, for a file of unknown origin: in a guarded process, within ``limits``."""
    path = check_file(path, limits)
    values, _ = sandbox.call("describe", path, {}, limits)
    return _info(path, values, limits)


# ---------------------------------------------------------------------- reading
def read_frames(path: str | Path, seconds: Sequence[float] | int, *, size: int, config: VideoConfig) -> FrameBatch:
    """The frames shown at ``seconds``, as (T, size, size, 3), for a trusted file.

    Seconds count from the first frame and follow the file's time stamps: a frame is shown from its stamp
    until the next one's. An int stands for so many moments spread evenly over what is really there. A
    clip with fewer frames than asked repeats them; times past the end give the last frame. The seconds
    of the batch are those at which its frames appear. Raises VideoError, or ConfigError where decord
    is asked for but not installed. decord always works in a guarded process (it can hang).
    """
    if config.reader == "decord":
        return read_frames_guarded(path, seconds, size=size, config=config, limits=_TRUSTED)
    return _batch(read_clip(check_file(path), seconds, size=size, fit=config.fit, reader="pyav"))


def read_frames_guarded(
    path: str | Path, seconds: Sequence[float] | int, *, size: int, config: VideoConfig, limits: LimitConfig
) -> FrameBatch:
    """As `read_frames`, for a file of unknown origin: in a guarded process, within ``limits``.

    A hang, a crash or too much memory ends that process and raises VideoError.
    """
    if config.reader == "decord" and importlib.util.find_spec("decord") is None:
        raise ConfigError('The decord reader is not installed on this machine; set video.reader to "pyav".')
    check_seconds(seconds, 0.0)  # what the caller got wrong is refused here, not in the worker
    wanted = seconds if isinstance(seconds, int) else [float(second) for second in seconds]
    arguments = {"seconds": wanted, "size": size, "fit": config.fit, "reader": config.reader}
    path = check_file(path, limits)
    values, payload = sandbox.call("frames", path, arguments, limits, account=limits is not _TRUSTED)
    return _batch(_clip(path, values, payload, size, wanted if isinstance(wanted, int) else len(wanted)))


def plan_frames(duration_s: float, config: VideoConfig) -> Plan:
    """The seconds at which a film is read to be indexed: see `reader.plan_frames`."""
    return reader.plan_frames(duration_s, **_sampling(config))


def read_film_guarded(
    path: str | Path, *, size: int, config: VideoConfig, limits: LimitConfig
) -> tuple[VideoInfo, FrameBatch, np.ndarray]:
    """All that indexing needs of a file of unknown origin, in one guarded call, by PyAV whatever ``config`` says.

    What `probe_guarded` tells, the frames at `plan_frames` as by `read_frames_guarded`, and the poster: the
    middle frame as a whole picture (H, W, 3) uint8.
    """
    path = check_file(path, limits)
    arguments = {"size": size, "fit": config.fit, "sampling": _sampling(config)}
    values, payload = sandbox.call("film", path, arguments, limits)
    described = values.get("info")
    info = _info(path, described if type(described) is dict else {}, limits)
    width, height = poster_size(info.width, info.height)
    cut = len(payload) - 3 * width * height
    if cut < 0 or values.get("duration_s") != info.duration_s:
        raise _wrong_answer(path)
    clip = _clip(path, values, payload[:cut], size, len(plan_frames(info.duration_s, config).seconds))
    return info, _batch(clip), np.frombuffer(payload[cut:], np.uint8).reshape(height, width, 3)


def _sampling(config: VideoConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("clip_frames", "moment_s", "max_frames")}


def still_frames(image_path: str | Path, *, size: int, config: VideoConfig) -> FrameBatch:
    """A photo as a clip of one frame at second 0 and of no duration, turned upright by its EXIF tag."""
    return _batch(read_photo(check_file(image_path), size=size, fit=config.fit))


def still_frames_guarded(image_path: str | Path, *, size: int, config: VideoConfig, limits: LimitConfig) -> FrameBatch:
    """As `still_frames`, for a file of unknown origin: in a guarded process, within ``limits``."""
    path = check_file(image_path, limits)
    values, payload = sandbox.call("photo", path, {"size": size, "fit": config.fit}, limits)
    return _batch(_clip(path, values, payload, size, 1))


# ---------------------------------------------------------------------- converting
def convert_for_browser(path: str | Path, target: str | Path, *, limits: LimitConfig, max_side: int = 960) -> Path:
    """Write a copy that browsers play (H.264 4:2:0, AAC, MP4, upright, index in front) to ``target``.

    The longer side is ``max_side`` pixels at most; sound that cannot be carried over is left out. Works in
    a guarded process. The copy appears at once and whole, or not at all.
    """
    target = Path(target)
    source = check_file(path, limits)
    part = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.touch()  # the process that converts may write this file, and no other
        arguments = {"target": str(part.absolute()), "max_side": max_side}
        sandbox.call("convert", source, arguments, limits, write=part.absolute())
        if part.stat().st_size == 0:
            raise _wrong_answer(source)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


# ---------------------------------------------------------------------- what came back
def _info(path: Path, values: dict[str, Any], limits: LimitConfig) -> VideoInfo:
    """The description that a guarded process gave, every field checked: it may have been taken over."""
    try:
        info = VideoInfo(**{name: values[name] for name in VideoInfo.__dataclass_fields__})
    except KeyError as error:
        raise _wrong_answer(path) from error
    texts, flags = (info.codec, info.container, info.note), (info.browser_playable,)
    numbers, counts = (info.duration_s, info.fps), (info.width, info.height, info.rotation, info.frame_count)
    right = (
        all(type(text) is str and len(text) <= 300 for text in texts)
        and all(type(flag) is bool for flag in flags)
        and all(_is_length(number) for number in numbers)
        and all(type(count) is int for count in counts)
        and info.duration_s <= limits.max_duration_s
        and 0 < info.width <= 2**20
        and 0 < info.height <= 2**20
        and info.rotation in (0, 90, 180, 270)
        and 0 <= info.frame_count < 2**40
    )
    if not right:
        raise _wrong_answer(path)
    return info


def _clip(path: Path, values: dict[str, Any], payload: bytes, size: int, count: int) -> Clip:
    """The frames that a guarded process gave: as many as asked for, at finite seconds that ascend."""
    seconds, box, duration_s = values.get("seconds"), values.get("box"), values.get("duration_s")
    right = (
        len(payload) == count * size * size * 3
        and type(seconds) is list
        and len(seconds) == count
        and all(map(_is_length, seconds))
        and all(a <= b for a, b in pairwise(seconds))
        and type(box) is list
        and len(box) == 6
        and all(type(side) is int and 0 <= side <= 2**20 for side in box)
        and box[2] > 0 < box[3]
        and box[0] + box[2] <= box[4]
        and box[1] + box[3] <= box[5]
        and _is_length(duration_s)
    )
    if not right:
        raise _wrong_answer(path)
    pixels = np.frombuffer(payload, np.uint8).reshape(count, size, size, 3).copy()
    return Clip(pixels, np.array(seconds, dtype=np.float64), tuple(box), duration_s)  # type: ignore[arg-type]


def _is_length(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf  # type: ignore[operator]


def _wrong_answer(path: Path) -> VideoError:
    return VideoError(path, "the decoder gave an answer that makes no sense", RESAVE)


def check_file(path: str | Path, limits: LimitConfig | None = None) -> Path:
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
        advice = "cut or compress the clip, or raise the limit with --limits max_bytes=N"
        raise VideoError(path, f"it has {size / 2**20:.0f} MiB and {allowed}", advice)
    return path


def _batch(clip: Clip) -> FrameBatch:
    return FrameBatch(clip.pixels, clip.seconds, CropBox(*clip.box), clip.duration_s)
