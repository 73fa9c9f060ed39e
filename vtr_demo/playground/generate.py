"""Playground clips as H.264 files with a manifest of captions and truth.

The playground is a small animated world whose truth is known, for sample videos, training and probes::

    rng = np.random.default_rng(0)
    spec = sample_spec(rng)                    # what happens; fixes every pixel
    frames = render(spec, 8)                   # (8, 260, 260, 3) uint8
    captions(spec, rng), truth(spec)           # true sentences; the truth of each level
    minimal_pair(rng, "action", "probe")       # two clips and sentences that differ in one level

Its things are Microsoft's Fluent 3D emoji (MIT licence), read from $VTR_SPRITES or ``sprites/``.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vtr_demo.config import Split
from vtr_demo.errors import ConfigError
from vtr_demo.files import replace_file
from vtr_demo.playground.captions import captions, truth
from vtr_demo.playground.layout import sample_spec
from vtr_demo.playground.render import render
from vtr_demo.playground.spec import ClipSpec

FRAME_SIZE = (640, 360)
FPS = 24
MAX_BYTES = 250_000
_QUALITIES = (22, 25, 28, 31, 34, 38)
"""x264 constant rate factors, tried in turn until the file is small enough."""


def generate(
    out: Path,
    count: int,
    seed: int,
    *,
    split: Split = "train",
    size: tuple[int, int] = FRAME_SIZE,
    sprites: str | Path | None = None,
) -> Path:
    """Write ``count`` H.264 clips and ``manifest.jsonl`` into ``out``; return the manifest's path.

    The same seed gives the same clips. A row has path, captions, truth, kind, split, spec and duration_s.
    """
    rng = np.random.default_rng(seed)
    specs = [sample_spec(rng, split=split) for _ in range(count)]
    rows = [
        {
            "path": f"playground_{seed}_{index:04d}.mp4",
            "captions": captions(spec, rng),
            "split": split,
            "spec": asdict(spec),
        }
        for index, spec in enumerate(specs)
    ]
    return _write_clips(Path(out), rows, size, sprites)


def render_samples(
    out: Path, specs: Path, *, size: tuple[int, int] = FRAME_SIZE, sprites: str | Path | None = None
) -> Path:
    """Write the clips of ``specs``, a manifest whose rows have path, captions and spec, into ``out``."""
    rows = [json.loads(line) for line in Path(specs).read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"path", "captions", "spec"} <= row.keys():
            raise ConfigError(f"Row {number} of {Path(specs).name} needs path, captions and spec.")
        if Path(row["path"]).name != row["path"]:
            raise ConfigError(f"Row {number} of {Path(specs).name} has the path {row['path']!r}; give a file name.")
    return _write_clips(Path(out), rows, size, sprites)


def _write_clips(out: Path, rows: list[dict[str, Any]], size: tuple[int, int], sprites: str | Path | None) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in rows:
        spec = ClipSpec.from_dict(row["spec"])
        seconds = np.arange(round(spec.duration_s * FPS)) / FPS
        frames = render(spec, list(seconds), size=size[0], height=size[1], sprites=sprites)
        _write_mp4(out / row["path"], frames)
        complete = {**row, "truth": truth(spec), "kind": "playground", "duration_s": spec.duration_s}
        lines.append(json.dumps(complete, sort_keys=True))
    manifest = out / "manifest.jsonl"
    replace_file(manifest, ("\n".join(lines) + "\n").encode())
    return manifest


def _write_mp4(path: Path, frames: np.ndarray) -> None:
    """Write (T, H, W, 3) uint8 RGB ``frames`` as MP4: H.264, yuv420p, faststart, no sound.

    It takes at most ``MAX_BYTES`` as far as the coarsest quality allows. One encoder thread and no assembly
    code: the same frames give the same bytes with the same encoder.
    """
    height, width = frames.shape[1:3]
    if width % 2 or height % 2:
        raise ConfigError(f"H.264 needs an even width and height, got {width}x{height}.")
    partial = path.with_name(path.name + ".part")
    for quality in _QUALITIES:
        _encode(partial, frames, quality)
        if partial.stat().st_size <= MAX_BYTES:
            break
    os.replace(partial, path)


def _encode(path: Path, frames: np.ndarray, quality: int) -> None:
    import av

    options = {"crf": str(quality), "preset": "slow", "tune": "animation", "threads": "1"}
    options["x264-params"] = "asm=0"  # its assembly code now and then gave other bytes for the same frames
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
