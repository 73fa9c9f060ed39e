"""Frames of a playground clip: sprites, soft shadows, camera and drifting weather over a painted scene.

Pillow does the drawing, with one affine transform for each sprite and frame.
"""

from __future__ import annotations

import functools
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vtr_demo.errors import ConfigError
from vtr_demo.playground.brushes import PROPS
from vtr_demo.playground.motion import Pose, poses, smooth
from vtr_demo.playground.scenes import MARGIN, paint
from vtr_demo.playground.spec import SCENES, THINGS, ClipSpec
from vtr_demo.structures import CropBox, FrameBatch

_FOCUS = 0.62
"""y that stays where it is when the camera zooms."""
_LARGEST = 4096
_PATCH_PIXELS = 20
"""Side of a patch in the drawing on which labels are counted."""

# --------------------------------------------------------------------------- sprites
SPRITES_ENV = "VTR_SPRITES"
SPRITES_FOLDER = Path(__file__).resolve().parents[2] / "sprites"
SPRITES_COMMAND = (
    "npm pack @lobehub/fluent-emoji-3d && mkdir -p sprites && "
    "tar xzf lobehub-fluent-emoji-3d-*.tgz -C sprites --strip-components=2 package/assets"
)


class Sprites:
    """The sprite pictures of one folder, cropped to their outline and kept at halving sizes."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(
                f"The playground's sprite folder {folder} is missing; run `{SPRITES_COMMAND}` "
                f"in the folder of app.py, or point {SPRITES_ENV} to the unpacked pictures."
            )
        self.folder = folder
        self._levels: dict[str, list[Image.Image]] = {}

    def levels(self, code: str) -> list[Image.Image]:
        """Return the RGBA pictures of one sprite, each half the size of the one before."""
        if code not in self._levels:
            file = self.folder / f"{code}.webp"
            try:
                with Image.open(file) as picture:
                    whole = picture.convert("RGBA")
            except OSError as error:
                raise ConfigError(
                    f"The sprite {file.name} cannot be read in {self.folder}; run `{SPRITES_COMMAND}`."
                ) from error
            box = whole.getchannel("A").point(lambda a: 255 if a > 24 else 0).getbbox()
            levels = [whole.crop(box) if box else whole]
            while max(levels[-1].size) > 24:
                levels.append(levels[-1].reduce(2))
            self._levels[code] = levels
        return self._levels[code]

    def of(self, thing: str) -> list[Image.Image]:
        """Return the pictures of a thing by its name."""
        return self.levels(THINGS[thing].code)

    def shape(self, thing: str) -> tuple[float, float]:
        """Return width and height of a thing's outline, the longer one 1."""
        wide, high = self.of(thing)[0].size
        longer = max(wide, high)
        return wide / longer, high / longer


def find_sprites(folder: str | Path | None = None) -> Sprites:
    """Return the sprites in ``folder``, else in $VTR_SPRITES, else in ``sprites/`` beside ``app.py``."""
    return _open_sprites(Path(folder or os.environ.get(SPRITES_ENV) or SPRITES_FOLDER))


_open_sprites = functools.lru_cache(maxsize=4)(Sprites)


# --------------------------------------------------------------------------- clips
def render(
    spec: ClipSpec,
    seconds: Sequence[float] | int,
    *,
    size: int = 260,
    height: int | None = None,
    sprites: str | Path | None = None,
) -> np.ndarray:
    """Draw (T, H, W, 3) uint8 RGB frames at ``seconds``, or at that many evenly spaced times.

    ``size`` is the width, and the height unless ``height`` is given. A square picture shows the
    central square of a wide one. ``sprites`` is a folder; see ``find_sprites``.
    """
    times = frame_times(spec, seconds) if isinstance(seconds, int) else seconds
    width, height = size, height or size
    if not (8 <= width <= _LARGEST and 8 <= height <= _LARGEST):
        raise ConfigError(f"A frame must be 8 to {_LARGEST} pixels wide and high, got {width}x{height}.")
    pictures = find_sprites(sprites)
    return np.stack([_frame(spec, second, width, height, pictures) for second in times])


def frame_times(spec: ClipSpec, count: int) -> list[float]:
    """Return the middles of ``count`` equal parts of the clip, in seconds."""
    return [(k + 0.5) * spec.duration_s / count for k in range(count)]


def frame_batch(
    spec: ClipSpec, count: int, *, size: int = 260, augment: bool = False, sprites: str | Path | None = None
) -> FrameBatch:
    """Draw ``count`` frames of ``size`` x ``size`` pixels as the model takes them.

    ``augment`` degrades them as a video file would (blur, brightness, contrast, JPEG), the same way
    in all frames and fixed by the spec's seed.
    """
    seconds = frame_times(spec, count)
    pixels = render(spec, seconds, size=size, sprites=sprites)
    if augment:
        pixels = _degrade(pixels, np.random.default_rng([spec.seed, 3]))
    return FrameBatch(pixels, np.array(seconds), CropBox(0, 0, size, size, size, size), spec.duration_s)


def _degrade(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change (T, H, W, 3) uint8 lightly, as a camera and a video codec would."""
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


def patch_labels(
    spec: ClipSpec, seconds: Sequence[float], *, grid: tuple[int, int], sprites: str | Path | None = None
) -> np.ndarray:
    """Return what covers most of each patch of the square view, (T, P), patches row-major over ``grid``.

    1 + i where ``render`` shows ``spec.actors[i]``, 0 for the scene; discovered concepts are measured against
    them (our decision). A thing shows where it is at least half opaque and nothing is in front of it; shadows,
    ropes and weather belong to the scene. Where two cover as much, the scene goes first, then the earlier actor.
    """
    pictures, size = find_sprites(sprites), _PATCH_PIXELS * max(grid)
    number = {actor.sprite: 1 + i for i, actor in enumerate(spec.actors)}
    rows, columns = (np.arange(size) * count // size for count in grid)
    patch = (rows[:, None] * grid[1] + columns).ravel()
    areas = np.zeros((len(seconds), grid[0] * grid[1], 1 + len(spec.actors)), np.int64)
    for frame, second in zip(areas, seconds, strict=True):
        canvas = Image.new("L", (size, size))
        lens = Lens(size / 2, size, *_camera(spec, second))
        for pose in poses(spec, second, pictures.shape):
            _stamp(canvas, pose, lens, pictures.of(pose.sprite), number[pose.sprite])
        np.add.at(frame, (patch, np.asarray(canvas).ravel()), 1)
    return areas.argmax(axis=2)


@functools.lru_cache(maxsize=200)
def _backdrop(scene: str, variant: int, width: int, height: int, sprites: Sprites) -> Image.Image:
    return paint(scene, variant, width, height, sprites.levels)


def _camera(spec: ClipSpec, second: float) -> tuple[float, float]:
    """(zoom, x) of the camera at ``second``, eased at both ends."""
    eased = smooth(second / spec.duration_s)
    if spec.camera == "zoom in":
        return 1.0 + 0.12 * eased, 0.0
    if spec.camera == "zoom out":
        return 1.12 - 0.12 * eased, 0.0
    side = {"pan left": -1, "pan right": 1}.get(spec.camera, 0)
    return 1.0, side * 0.1 * (eased - 0.5)


def _frame(spec: ClipSpec, second: float, width: int, height: int, sprites: Sprites) -> np.ndarray:
    zoom, pan = _camera(spec, second)
    backdrop = _backdrop(spec.scene, spec.backdrop, width, height, sprites)
    canvas = _view(backdrop, width, height, zoom, 0.6 * pan, mirrored=spec.seed % 2 == 1)
    lens = Lens(width / 2, height, zoom, pan)
    _drift_clouds(canvas, spec, second, sprites)
    things = poses(spec, second, sprites.shape)
    for pose in things:
        _shadow(canvas, pose, lens, SCENES[spec.scene].shadow)
    for pose in things:
        _stamp(canvas, pose, lens, sprites.of(pose.sprite))
    _drift_flakes(canvas, spec, second)
    return np.asarray(canvas)


@dataclass(frozen=True)
class Lens:
    """The map from picture heights to pixels."""

    centre: float
    height: int
    zoom: float
    pan: float

    @property
    def unit(self) -> float:
        """Return the pixels in one picture height."""
        return self.height * self.zoom

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        return self.centre + self.unit * (x - self.pan), self.height * (_FOCUS + self.zoom * (y - _FOCUS))


def _view(picture: Image.Image, width: int, height: int, zoom: float, pan: float, *, mirrored: bool) -> Image.Image:
    """The part of the painting that the camera sees."""
    pan = -pan if mirrored else pan
    left = picture.width / 2 + pan * height - width / zoom / 2
    top = height * (MARGIN + _FOCUS * (1 - 1 / zoom))
    if zoom == 1.0 and pan == 0.0:
        x, y = round(left), round(top)
        view = picture.crop((x, y, x + width, y + height))
    else:
        box = (left, top, left + width / zoom, top + height / zoom)
        view = picture.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else view


# --------------------------------------------------------------------------- things
def _stamp(canvas: Image.Image, pose: Pose, lens: Lens, levels: list[Image.Image], label: int | None = None) -> None:
    """Draw a sprite; with ``label``, this number where it is at least half opaque."""
    if pose.pivot is not None and label is None:
        _rope(canvas, pose, lens)
    centre = lens(pose.x, pose.y)
    wide, high = max(pose.width * lens.unit, 0.5), max(pose.height * lens.unit, 0.5)
    source = next((im for im in reversed(levels) if im.height >= 0.9 * high and im.width >= 0.9 * wide), levels[0])
    turn = math.radians(pose.angle)
    cos, sin = math.cos(turn), math.sin(turn)
    reach_x = abs(cos) * wide / 2 + abs(sin) * high / 2 + 1
    reach_y = abs(sin) * wide / 2 + abs(cos) * high / 2 + 1
    left, top = math.floor(centre[0] - reach_x), math.floor(centre[1] - reach_y)
    right, bottom = math.ceil(centre[0] + reach_x), math.ceil(centre[1] + reach_y)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, canvas.width), min(bottom, canvas.height)
    if left >= right or top >= bottom or pose.alpha <= 0.004:
        return
    sx, sy = source.width / wide * (-1 if pose.mirrored else 1), source.height / high
    ox, oy = left - centre[0], top - centre[1]
    matrix = (
        cos * sx,
        sin * sx,
        (cos * ox + sin * oy) * sx + source.width / 2,
        -sin * sy,
        cos * sy,
        (-sin * ox + cos * oy) * sy + source.height / 2,
    )
    if pose.rim:
        source = source.copy()
        source.paste((0, 0, 0, 0), (0, 0, source.width, round(pose.rim * source.height)))
    patch = source.transform((right - left, bottom - top), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    mask = patch.getchannel("A")
    if pose.alpha < 1:
        mask = Image.eval(mask, lambda a: round(a * pose.alpha))
    if label is None:
        canvas.paste(patch.convert("RGB"), (left, top), mask)
    else:
        canvas.paste(label, (left, top), Image.eval(mask, lambda a: 255 if a >= 128 else 0))


def _rope(canvas: Image.Image, pose: Pose, lens: Lens) -> None:
    """A rope from above the picture to the hinge, and from there to the top of the thing."""
    assert pose.pivot is not None
    turn = math.radians(pose.angle)
    top = (pose.x + pose.height / 2 * math.sin(turn) * 0.9, pose.y - pose.height / 2 * math.cos(turn) * 0.9)
    points = [lens(pose.pivot[0], -0.2), lens(*pose.pivot), lens(*top)]
    draw = ImageDraw.Draw(canvas)
    draw.line(points, fill=(92, 70, 58), width=max(1, round(lens.unit * 0.009)), joint="curve")
    x, y = points[1]
    r = max(1.5, lens.unit * 0.011)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(120, 92, 74))


@functools.lru_cache(maxsize=2048)
def _soft_mask(wide: int, high: int, strength: int) -> Image.Image:
    """A soft spot of ``wide`` x ``high`` pixels; ``strength`` in 32nds."""
    axis = np.linspace(-1, 1, 96)
    distance = np.hypot(axis[None, :], axis[:, None])
    dot = Image.fromarray((255 * np.clip(1 - distance, 0, 1) ** 1.3).astype(np.uint8))
    spot = np.asarray(dot.resize((wide, high), Image.Resampling.BILINEAR), np.uint16)
    return Image.fromarray(np.minimum(spot * strength // 32, 255).astype(np.uint8))


def _shadow(canvas: Image.Image, pose: Pose, lens: Lens, weight: float) -> None:
    """A soft contact shadow, wider and fainter the higher the thing is above the ground."""
    if not pose.shadow:
        return
    clear = max(0.0, pose.ground - pose.y - pose.height / 2)
    strength = weight * (0.55 * math.exp(-clear / 0.16) + 0.1)
    wide = max(pose.width, 0.35 * pose.height) * (0.62 + 0.25 * min(clear, 0.4)) * lens.unit
    high = wide * 0.24
    x, y = lens(pose.x, pose.ground)
    box = (round(x - wide), round(y - high * 1.1), round(x + wide), round(y + high * 0.9))
    if box[2] - box[0] < 2 or box[3] - box[1] < 2:
        return
    mask = _soft_mask(box[2] - box[0], box[3] - box[1], round(32 * strength * pose.alpha))
    canvas.paste((22, 24, 44), box[:2], mask)


# --------------------------------------------------------------------------- weather
def _drift_clouds(canvas: Image.Image, spec: ClipSpec, second: float, sprites: Sprites) -> None:
    scene = SCENES[spec.scene]
    rng = np.random.default_rng([spec.seed, 1])
    half = canvas.width / canvas.height / 2 + 0.25
    lens = Lens(canvas.width / 2, canvas.height, zoom=1.0, pan=0.0)
    levels = sprites.levels(PROPS["cloud"])
    drift = 1 if rng.random() < 0.5 else -1
    for k in range(scene.clouds):
        wide, y = rng.uniform(0.14, 0.24), rng.uniform(0.05, 0.22)
        start = (k + rng.random()) / scene.clouds
        x = ((start + drift * second * 0.009 / half) % 1.0) * 2 * half - half
        high = wide * levels[0].height / levels[0].width
        cloud = Pose("cloud", x, y, wide, high, ground=1.0, depth=0.0, alpha=scene.cloud_alpha * 0.9)
        _stamp(canvas, cloud, lens, levels)


def _drift_flakes(canvas: Image.Image, spec: ClipSpec, second: float) -> None:
    scene = SCENES[spec.scene]
    if not scene.flakes:
        return
    rng = np.random.default_rng([spec.seed, 2])
    aspect = canvas.width / canvas.height
    for x, y, size, pace, phase in rng.random((round(scene.flakes * max(1.0, aspect)), 5)):
        if scene.twinkle:
            px, py = x, 0.5 * y
            alpha = 0.5 + 0.5 * math.sin(2 * math.pi * (second * (0.3 + 0.5 * pace) + phase))
        else:
            py = (y + second * scene.flake_speed * (0.6 + 0.8 * pace)) % 1.0
            px = (x + 0.02 * math.sin(2 * math.pi * (second * 0.25 + phase))) % 1.0
            alpha = 0.55 + 0.4 * pace
        radius = scene.flake_size * (0.6 + size) * canvas.height
        side = max(2, round(3.2 * radius))
        box = (round(px * canvas.width - side / 2), round(py * canvas.height - side / 2))
        canvas.paste(scene.flake_colour, box, _soft_mask(side, side, round(51 * alpha)))
