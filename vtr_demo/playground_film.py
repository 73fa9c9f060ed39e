"""Writing the playground's clips as H.264 files that play everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vtr_demo.errors import BadConfig

_QUALITIES = (22, 25, 28, 31, 34, 38)
"""x264 constant rate factors, tried in turn until the file is small enough."""


def write_mp4(
    path: Path, frames: Iterable[np.ndarray], size: tuple[int, int], fps: int, *, max_bytes: int | None = None
) -> int:
    """Write (H, W, 3) uint8 RGB ``frames`` as MP4: H.264, yuv420p, faststart, no sound.

    Returns the size in bytes, at most ``max_bytes`` as far as the coarsest quality allows. One
    encoder thread and no assembly: the same frames give the same bytes with the same encoder.
    """
    if size[0] % 2 or size[1] % 2:
        raise BadConfig(f"H.264 needs an even width and height, got {size[0]}x{size[1]}.")
    kept = list(frames)
    unfinished = path.with_name(path.name + ".part")
    for quality in _QUALITIES:
        _encode(unfinished, kept, size, fps, quality)
        if max_bytes is None or unfinished.stat().st_size <= max_bytes:
            break
    os.replace(unfinished, path)
    return path.stat().st_size


def _encode(path: Path, frames: list[np.ndarray], size: tuple[int, int], fps: int, quality: int) -> None:
    import av

    options = {"crf": str(quality), "preset": "slow", "tune": "animation", "threads": "1"}
    options["x264-params"] = "asm=0"  # its assembly gave other bytes for the same frames now and then
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
