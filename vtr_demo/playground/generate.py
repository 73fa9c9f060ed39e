"""The playground: a small animated world with known truth, for samples, training and level probes.

    rng = np.random.default_rng(0)
    spec = sample_spec(rng)                    # what happens; fixes every pixel
    frames = render(spec, 8)                   # (8, 260, 260, 3) uint8
    captions(spec, rng), truth(spec)           # several true sentences; the truth of each level
    minimal_pair(rng, "action", "probe")       # two clips and sentences that differ in one level

The things are Microsoft's Fluent 3D emoji (MIT licence), read from $VTR_SPRITES or ``sprites/``.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from vtr_demo.errors import ConfigError
from vtr_demo.playground.captions import PAIR_LEVELS, captions, contrast, minimal_pair, negatives, truth
from vtr_demo.playground.layout import sample_spec
from vtr_demo.playground.render import draw_clip, find_sprites
from vtr_demo.playground.spec import SPLITS, Actor, ClipSpec, Split, held_out, in_split
from vtr_demo.structures import CropBox, FrameBatch

# --------------------------------------------------------------------------- writing the playground's cl
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
        raise ConfigError(f"H.264 needs an even width and height, got {size[0]}x{size[1]}.")
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


__all__ = [
    "PAIR_LEVELS",
    "SPLITS",
    "Actor",
    "ClipSpec",
    "Split",
    "captions",
    "contrast",
    "frame_batch",
    "generate",
    "held_out",
    "in_split",
    "minimal_pair",
    "negatives",
    "render",
    "render_samples",
    "sample_spec",
    "truth",
]

FILM_SIZE = (640, 360)
FPS = 24
MAX_BYTES = 250_000


def render(
    spec: ClipSpec,
    seconds: Sequence[float] | int,
    *,
    size: int = 260,
    height: int | None = None,
    sprites: str | Path | None = None,
) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB at ``seconds``, or at that many evenly spaced times.

    ``size`` is the width, and the height unless ``height`` is given. A square picture shows the
    central square of a wide one. ``sprites`` is the folder of the emoji.
    """
    times = moments(spec, seconds) if isinstance(seconds, int) else [float(s) for s in seconds]
    if not times or not np.isfinite(times).all():
        raise ConfigError("At least one finite second is needed to draw a clip.")
    return draw_clip(spec, times, size, height or size, find_sprites(sprites))


def moments(spec: ClipSpec, count: int) -> list[float]:
    """The middles of ``count`` equal parts of the clip, in seconds."""
    if count < 1:
        raise ConfigError(f"A clip needs at least one frame, got {count}.")
    return [(k + 0.5) * spec.duration_s / count for k in range(count)]


def frame_batch(
    spec: ClipSpec, count: int, *, size: int = 260, augment: bool = False, sprites: str | Path | None = None
) -> FrameBatch:
    """``count`` frames of size x size as the model sees them.

    ``augment`` degrades them as a video file would (blur, brightness, contrast, JPEG), the same way
    in all frames and fixed by the spec's seed.
    """
    seconds = moments(spec, count)
    pixels = render(spec, seconds, size=size, sprites=sprites)
    if augment:
        pixels = degrade(pixels, np.random.default_rng([spec.seed, 3]))
    crop = CropBox(0, 0, size, size, size, size)
    return FrameBatch(pixels, np.array(seconds), crop, spec.duration_s)


def degrade(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, H, W, 3) uint8 -> the same shape: what a camera and a video codec would do, lightly."""
    gain, lift = rng.uniform(0.85, 1.12), rng.uniform(-12, 12)
    tint = rng.uniform(0.96, 1.04, 3)
    curve = np.clip(np.arange(256)[:, None] * gain * tint + lift, 0, 255).astype(np.uint8)
    blur, quality = rng.uniform(0, 0.9), int(rng.integers(35, 90))
    out = np.empty_like(pixels)
    for index, frame in enumerate(pixels):
        picture = Image.fromarray(np.stack([curve[frame[..., c], c] for c in range(3)], axis=-1))
        if blur > 0.3:
            picture = picture.filter(ImageFilter.GaussianBlur(blur))
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=quality)
        out[index] = np.asarray(Image.open(packed))
    return out


# --------------------------------------------------------------------------- files
def generate(
    out: Path,
    count: int,
    seed: int,
    *,
    split: Split = "train",
    size: tuple[int, int] = FILM_SIZE,
    sprites: str | Path | None = None,
) -> Path:
    """Write ``count`` H.264 clips and ``manifest.jsonl`` into ``out``; returns the manifest.

    The same seed gives the same clips. A row has path, captions, truth, kind, split and spec.
    """
    if count < 1:
        raise ConfigError(f"The number of clips must be at least 1, got {count}.")
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
    return _film(Path(out), rows, size, sprites)


def render_samples(
    out: Path, specs: Path, *, size: tuple[int, int] = FILM_SIZE, sprites: str | Path | None = None
) -> Path:
    """Film the rows of ``specs``, a manifest whose rows have path, captions and spec, into ``out``."""
    rows = [json.loads(line) for line in Path(specs).read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"path", "captions", "spec"} <= row.keys():
            raise ConfigError(f"Row {number} of {Path(specs).name} needs path, captions and spec.")
        if Path(row["path"]).name != row["path"]:
            raise ConfigError(
                f"Row {number} of {Path(specs).name} has the path {row['path']!r}; give a file name."
            )
    return _film(Path(out), rows, size, sprites)


def _film(out: Path, rows: list[dict[str, Any]], size: tuple[int, int], sprites: str | Path | None) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in rows:
        spec = ClipSpec.from_json(row["spec"])
        write_mp4(out / row["path"], _frames(spec, size, sprites), size, FPS, max_bytes=MAX_BYTES)
        complete = {**row, "truth": truth(spec), "kind": "playground", "duration_s": spec.duration_s}
        lines.append(json.dumps(complete, sort_keys=True))
    manifest = out / "manifest.jsonl"
    unfinished = manifest.with_suffix(".part")
    unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(unfinished, manifest)
    return manifest


def _frames(spec: ClipSpec, size: tuple[int, int], sprites: str | Path | None) -> Iterable[np.ndarray]:
    times = np.arange(round(spec.duration_s * FPS)) / FPS
    return [render(spec, [t], size=size[0], height=size[1], sprites=sprites)[0] for t in times]
