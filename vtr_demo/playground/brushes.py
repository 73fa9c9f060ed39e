"""Brushes for the playground's scenes: gradients, glows, hills, ripples, grain and props on a canvas.

Lengths are in picture heights; x = 0 is the middle, y = 0 the upper edge; colours are "#rrggbb".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from vtr_demo.files import read_table

Levels = Callable[[str], list[Image.Image]]
"""Code points of a sprite -> its RGBA pictures, each half the size of the one before."""
Curve = Callable[[Any], Any]
"""x -> y, of one point or of many (N,)."""

PROPS = {row["name"]: row["code"] for row in read_table(Path(__file__).with_name("props.csv"))}
"""Code points of the sprites that stand about in the scenes."""


def rgb(colour: str) -> np.ndarray:
    """Return (3,) float32, 0..255, of "#rrggbb"."""
    return np.array(ImageColor.getrgb(colour), np.float32)


def flat(level: float) -> Curve:
    """Return a straight horizon."""
    return lambda x: np.full_like(x, level)


def ridge(rng: np.random.Generator, level: float, height: float, waves: float, rough: int = 3) -> Curve:
    """Return a random smooth outline around y = ``level`` of ``rough`` waves, each finer than the last."""
    parts = [
        (height / 1.9**k, waves * 2.1**k * rng.uniform(0.85, 1.15), rng.uniform(0, 2 * math.pi)) for k in range(rough)
    ]

    def curve(x: np.ndarray) -> np.ndarray:
        return level + np.sum([a * np.sin(2 * math.pi * f * x + p) for a, f, p in parts], axis=0)

    return curve


def peaks(rng: np.random.Generator, level: float, height: float, count: int, width: float) -> Curve:
    """Return the outline of a mountain range: triangular peaks with small steps."""
    places = np.linspace(-width, width, count) + rng.uniform(-0.5, 0.5, count) * width / count
    tops = height * rng.uniform(0.55, 1.0, count)
    slopes = rng.uniform(0.75, 1.15, count)
    ripple = ridge(rng, 0.0, 0.006, 7.0)

    def curve(x: np.ndarray) -> np.ndarray:
        sides = [t - s * np.abs(x - p) for p, t, s in zip(places, tops, slopes, strict=True)]
        tall = np.max(sides, axis=0)
        return level - np.maximum(tall, 0) + ripple(x) * (tall > 0)

    return curve


def aside(rng: np.random.Generator, canvas: Canvas, low: float = 0.34) -> float:
    """Choose an x at the left or right, at least ``low`` from the middle."""
    return float(rng.choice([-1, 1]) * rng.uniform(low, max(low + 0.05, canvas.half - 0.06)))


class Canvas:
    """A picture being painted: (H, W, 3) float RGB and the coordinates of its pixels.

    It reaches ``margin`` beyond each edge of a frame of ``width`` x ``height`` pixels.
    """

    def __init__(self, width: int, height: int, margin: float, levels: Levels) -> None:
        self.unit = height
        self.half = width / height / 2 + margin
        columns, rows = math.ceil(2 * self.half * height), math.ceil((1 + 2 * margin) * height)
        self.x = ((np.arange(columns) + 0.5) / height - columns / height / 2).astype(np.float32)
        self.y = ((np.arange(rows) + 0.5) / height - margin).astype(np.float32)[:, None]
        self.margin = margin
        self.pixels = np.zeros((rows, columns, 3), np.float32)
        self.levels = levels
        self.palette: tuple[str, ...] = ()

    def sky(self, *colours: str, top: float = -0.1, bottom: float = 0.75) -> None:
        """Fill with a vertical gradient; its colours become the ``palette``."""
        self.palette = colours
        self.pixels[:] = self._gradient(colours, (self.y - top) / (bottom - top))

    def glow(self, x: float, y: float, radius: float, colour: str, strength: float = 0.8) -> None:
        """Paint a soft light."""
        distance = np.hypot(self.x - x, self.y - y) / radius
        self.blend(rgb(colour), strength * np.exp(-(distance**2) * 2))

    def disc(self, x: float, y: float, radius: float, colour: str, alpha: float = 1.0) -> None:
        """Paint a disc with a clean edge."""
        inside = (radius - np.hypot(self.x - x, self.y - y)) * self.unit + 0.5
        self.blend(rgb(colour), alpha * np.clip(inside, 0, 1))

    def oval(self, x: float, y: float, wide: float, high: float, colour: str, *, alpha: float = 1.0) -> None:
        """Paint an ellipse with a soft edge."""
        distance = np.hypot((self.x - x) / wide, (self.y - y) / high)
        self.blend(rgb(colour), alpha * np.clip((1 - distance) * 6, 0, 1))

    def beam(self, x: float, lean: float, spread: float, colour: str, alpha: float, *, bottom: float = 0.9) -> None:
        """Paint a ray of light from above that fades downwards."""
        down = np.clip(self.y / bottom, 0, 1)
        across = np.abs(self.x - x - lean * self.y) / (0.03 + spread * np.clip(self.y, 0, None))
        self.blend(rgb(colour), alpha * np.clip(1.2 - across, 0, 1) ** 1.5 * (1 - 0.75 * down))

    def land(self, outline: Curve, *colours: str, bottom: float = 1.1, rim: str | None = None) -> None:
        """Paint everything below ``outline``, shaded from its edge down to ``bottom``."""
        edge = outline(self.x)[None, :]
        inside = np.clip((self.y - edge) * self.unit + 0.5, 0, 1)
        shade = self._gradient(colours, (self.y - edge) / np.maximum(bottom - edge, 1e-3))
        if rim is not None:
            light = np.exp(-np.clip(self.y - edge, 0, None) / 0.012)[..., None] * 0.7
            shade = shade * (1 - light) + rgb(rim) * light
        self.blend(shade, inside)

    def band(self, left: float, top: float, right: float, bottom: float, colour: str, *, alpha: float = 1.0) -> None:
        """Paint a rectangle."""
        across = np.clip((np.minimum(self.x - left, right - self.x)) * self.unit + 0.5, 0, 1)
        down = np.clip((np.minimum(self.y - top, bottom - self.y)) * self.unit + 0.5, 0, 1)
        self.blend(rgb(colour), alpha * across[None, :] * down)

    def ripples(self, rng: np.random.Generator, top: float, bottom: float, colour: str, count: int = 26) -> None:
        """Paint short flat strokes that grow towards the viewer: waves, sand, grass."""
        for _ in range(count):
            near = rng.random() ** 0.7
            y = top + (bottom - top) * near
            wide = (0.03 + 0.09 * near) * rng.uniform(0.6, 1.4)
            self.oval(rng.uniform(-self.half, self.half), y, wide, 0.003 + 0.004 * near, colour, alpha=0.35)

    def stars(self, rng: np.random.Generator, bottom: float, count: int = 90) -> None:
        """Paint stars of several sizes."""
        for _ in range(count):
            x, y = rng.uniform(-self.half, self.half), bottom * rng.random() ** 1.2 - 0.05
            self.disc(x, y, rng.uniform(0.0012, 0.0036), "#ffffff", rng.uniform(0.35, 1.0))

    def prop(
        self, name: str, x: float, ground: float, size: float, fade: float = 0.0, *, haze: str = "#ffffff"
    ) -> None:
        """Paint a prop on y = ``ground`` whose longer side is ``size``, faded into ``haze``."""
        source = self.levels(PROPS[name])
        longer = size * self.unit
        level = next((im for im in reversed(source) if max(im.size) >= longer), source[0])
        scale = longer / max(level.size)
        wide, high = (max(1, round(side * scale)) for side in level.size)
        picture = np.asarray(level.resize((wide, high), Image.Resampling.BICUBIC, reducing_gap=2.0), np.float32)
        left = round((x + self.half) * self.unit - wide / 2)
        top = round((ground + self.margin) * self.unit - high)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + wide, self.pixels.shape[1]), min(top + high, self.pixels.shape[0])
        if x0 >= x1 or y0 >= y1:
            return
        patch = picture[y0 - top : y1 - top, x0 - left : x1 - left]
        colour = patch[..., :3] * (1 - fade) + rgb(haze) * fade
        alpha = patch[..., 3:] / 255
        target = self.pixels[y0:y1, x0:x1]
        target[:] = target * (1 - alpha) + colour * alpha

    def shade(self, x: float, ground: float, wide: float, alpha: float = 0.22) -> None:
        """Paint the soft contact shadow of a prop."""
        distance = np.hypot((self.x - x) / wide, (self.y - ground) / (wide * 0.22))
        self.blend(rgb("#101828"), alpha * np.clip(1 - distance, 0, 1) ** 0.8)

    def picture(self, rng: np.random.Generator) -> Image.Image:
        """Return the finished RGB picture, with grain, which keeps gradients from banding."""
        self.pixels += rng.normal(0, 1.6, (*self.pixels.shape[:2], 1)).astype(np.float32)
        return Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))

    def blend(self, colour: np.ndarray, alpha: np.ndarray) -> None:
        """Mix in ``colour``, (3,) or (H, W, 3), by ``alpha``, which broadcasts to (H, W)."""
        alpha = np.broadcast_to(alpha, self.pixels.shape[:2])
        # only the rectangle where alpha counts is computed
        rows = np.flatnonzero(alpha.max(axis=1) > 0.002)
        if not len(rows):
            return
        part = slice(rows[0], rows[-1] + 1)
        columns = np.flatnonzero(alpha[part].max(axis=0) > 0.002)
        side = slice(columns[0], columns[-1] + 1)
        weight = alpha[part, side, None]
        shade = colour if colour.ndim == 1 else colour[part, side]
        self.pixels[part, side] += (shade - self.pixels[part, side]) * weight

    def _gradient(self, colours: Sequence[str], place: np.ndarray) -> np.ndarray:
        stops = np.stack([rgb(colour) for colour in colours])
        place = np.clip(np.broadcast_to(place, self.pixels.shape[:2]), 0, 1) * (len(stops) - 1)
        low = np.clip(place.astype(int), 0, max(len(stops) - 2, 0))
        part = (place - low)[..., None]
        return stops[low] * (1 - part) + stops[np.minimum(low + 1, len(stops) - 1)] * part
