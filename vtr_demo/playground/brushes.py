"""The brushes that paint the playground's scenes: gradients, glows, hills, waves, speckles, props.

Lengths are in picture heights; x = 0 is the middle, y = 0 the upper edge; colours are "#rrggbb".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

Levels = Callable[[str], list[Image.Image]]
"""Code of a sprite -> its RGBA pictures, each half the size of the one before."""
Curve = Callable[[np.ndarray], np.ndarray]


# Code points of the props.
CLOUD, PALM, CACTUS, PINE, TREE = "2601-fe0f", "1f334", "1f335", "1f332", "1f333"
HOUSE, GARDEN_HOUSE, OFFICE = "1f3e0", "1f3e1", "1f3e2"
ROCK, CORAL, SHELL, PARASOL, TENT = "1faa8", "1fab8", "1f41a", "26f1-fe0f", "26fa"
TULIP, BLOSSOM, SEEDLING, REED = "1f337", "1f33c", "1f331", "1f33e"
PLANT, COUCH, PAINTING, LAMP = "1fab4", "1f6cb-fe0f", "1f5bc-fe0f", "1f56f-fe0f"
PLANET, EARTH, LOG = "1fa90", "1f30d", "1fab5"


@dataclass(frozen=True)
class Weather:
    """Small things that drift: clouds behind the actors, flakes, bubbles, motes before them."""

    clouds: int = 0
    cloud_alpha: float = 0.9
    flakes: int = 0
    flake_colour: tuple[int, int, int] = (255, 255, 255)
    flake_size: float = 0.008
    flake_speed: float = 0.0
    """Heights per second, positive falls."""
    twinkle: bool = False
    shadow: float = 1.0
    """Strength of the shadows of the things; weak on snow and clouds."""


def rgb(colour: str) -> np.ndarray:
    """(3,) float32, 0..255, of "#rrggbb"."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)


def flat(level: float) -> Curve:
    """A straight horizon."""
    return lambda x: np.full_like(x, level)


def ridge(rng: np.random.Generator, level: float, height: float, waves: float, rough: int = 3) -> Curve:
    """A random smooth outline around y = ``level``; ``rough`` adds finer waves."""
    parts = [
        (height / 1.9**k, waves * 2.1**k * rng.uniform(0.85, 1.15), rng.uniform(0, 2 * math.pi))
        for k in range(rough)
    ]

    def curve(x: np.ndarray) -> np.ndarray:
        waves = [a * np.sin(2 * math.pi * f * x + p) for a, f, p in parts]
        return level + np.sum(waves, axis=0)

    return curve


def peaks(rng: np.random.Generator, level: float, height: float, count: int, width: float) -> Curve:
    """A mountain range: triangular peaks with small steps."""
    places = np.linspace(-width, width, count) + rng.uniform(-0.5, 0.5, count) * width / count
    tops = height * rng.uniform(0.55, 1.0, count)
    slopes = rng.uniform(0.75, 1.15, count)
    ripple = ridge(rng, 0.0, 0.006, 7.0)

    def curve(x: np.ndarray) -> np.ndarray:
        tall = np.stack([t - s * np.abs(x - p) for p, t, s in zip(places, tops, slopes, strict=True)]).max(
            axis=0
        )
        return level - np.maximum(tall, 0) + ripple(x) * (tall > 0)

    return curve


def choose(rng: np.random.Generator, *options: tuple[str, ...]) -> tuple[str, ...]:
    """One of several palettes."""
    return options[int(rng.integers(len(options)))]


def aside(rng: np.random.Generator, easel: Easel, low: float = 0.34) -> float:
    """A place at the left or right, outside the middle of the stage."""
    return float(rng.choice([-1, 1]) * rng.uniform(low, max(low + 0.05, easel.half - 0.06)))


class Easel:
    """A picture under way: float RGB, with the coordinates of its pixels."""

    def __init__(self, width: int, height: int, margin: float, levels: Levels) -> None:
        self.unit = height
        self.half = width / height / 2 + margin
        columns, rows = math.ceil(2 * self.half * height), math.ceil((1 + 2 * margin) * height)
        self.x = ((np.arange(columns) + 0.5) / height - columns / height / 2).astype(np.float32)
        self.y = ((np.arange(rows) + 0.5) / height - margin).astype(np.float32)[:, None]
        self.margin = margin
        self.pixels = np.zeros((rows, columns, 3), np.float32)
        self.levels = levels

    # -- light and colour
    def sky(self, *colours: str, top: float = -0.1, bottom: float = 0.75) -> None:
        """A vertical gradient over everything."""
        self.pixels[:] = self._gradient(colours, (self.y - top) / (bottom - top))

    def glow(self, x: float, y: float, radius: float, colour: str, strength: float = 0.8) -> None:
        """A soft light."""
        distance = np.hypot(self.x - x, self.y - y) / radius
        self._blend(rgb(colour), strength * np.exp(-(distance**2) * 2))

    def disc(self, x: float, y: float, radius: float, colour: str, alpha: float = 1.0) -> None:
        """A round shape with a clean edge."""
        inside = (radius - np.hypot(self.x - x, self.y - y)) * self.unit + 0.5
        self._blend(rgb(colour), alpha * np.clip(inside, 0, 1))

    def oval(self, x: float, y: float, wide: float, high: float, colour: str, *, alpha: float = 1.0) -> None:
        """A flat round shape with a soft edge."""
        distance = np.hypot((self.x - x) / wide, (self.y - y) / high)
        self._blend(rgb(colour), alpha * np.clip((1 - distance) * 6, 0, 1))

    def beam(
        self, x: float, lean: float, spread: float, colour: str, alpha: float, *, bottom: float = 0.9
    ) -> None:
        """A ray of light from above, fading downwards."""
        down = np.clip(self.y / bottom, 0, 1)
        across = np.abs(self.x - x - lean * self.y) / (0.03 + spread * np.clip(self.y, 0, None))
        self._blend(rgb(colour), alpha * np.clip(1.2 - across, 0, 1) ** 1.5 * (1 - 0.75 * down))

    # -- land
    def land(self, outline: Curve, *colours: str, bottom: float = 1.1, rim: str | None = None) -> None:
        """Everything below ``outline``, shaded from its edge down to ``bottom``."""
        edge = outline(self.x)[None, :]
        inside = np.clip((self.y - edge) * self.unit + 0.5, 0, 1)
        shade = self._gradient(colours, (self.y - edge) / np.maximum(bottom - edge, 1e-3))
        if rim is not None:
            light = np.exp(-np.clip(self.y - edge, 0, None) / 0.012)[..., None] * 0.7
            shade = shade * (1 - light) + rgb(rim) * light
        self._blend(shade, inside)

    def band(
        self, left: float, top: float, right: float, bottom: float, colour: str, *, alpha: float = 1.0
    ) -> None:
        """An upright rectangle."""
        across = np.clip((np.minimum(self.x - left, right - self.x)) * self.unit + 0.5, 0, 1)
        down = np.clip((np.minimum(self.y - top, bottom - self.y)) * self.unit + 0.5, 0, 1)
        self._blend(rgb(colour), alpha * across[None, :] * down)

    def ripples(
        self, rng: np.random.Generator, top: float, bottom: float, colour: str, count: int = 26
    ) -> None:
        """Short flat strokes that grow towards the viewer: water, sand, grass shadows."""
        for _ in range(count):
            near = rng.random() ** 0.7
            y = top + (bottom - top) * near
            wide = (0.03 + 0.09 * near) * rng.uniform(0.6, 1.4)
            self.oval(rng.uniform(-self.half, self.half), y, wide, 0.003 + 0.004 * near, colour, alpha=0.35)

    def stars(self, rng: np.random.Generator, bottom: float, count: int = 90) -> None:
        """Fixed stars of several sizes."""
        for _ in range(count):
            x, y = rng.uniform(-self.half, self.half), bottom * rng.random() ** 1.2 - 0.05
            self.disc(x, y, rng.uniform(0.0012, 0.0036), "#ffffff", rng.uniform(0.35, 1.0))

    def speckle(self, rng: np.random.Generator, strength: float = 1.6) -> None:
        """A trace of grain: keeps gradients from banding."""
        self.pixels += rng.normal(0, strength, (*self.pixels.shape[:2], 1)).astype(np.float32)

    # -- props
    def prop(
        self, code: str, x: float, ground: float, size: float, fade: float = 0.0, *, haze: str = "#ffffff"
    ) -> None:
        """A sprite standing on y = ``ground``, its longer side ``size``, ``fade`` mixed with ``haze``."""
        source = self.levels(code)
        longer = size * self.unit
        level = next((im for im in reversed(source) if max(im.size) >= longer), source[0])
        scale = longer / max(level.size)
        wide, high = (max(1, round(side * scale)) for side in level.size)
        picture = np.asarray(
            level.resize((wide, high), Image.Resampling.BICUBIC, reducing_gap=2.0), np.float32
        )
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
        """The soft contact shadow of a prop."""
        distance = np.hypot((self.x - x) / wide, (self.y - ground) / (wide * 0.22))
        self._blend(rgb("#101828"), alpha * np.clip(1 - distance, 0, 1) ** 0.8)

    def picture(self) -> Image.Image:
        """The finished picture, RGB."""
        return Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))

    # -- inner
    def _blend(self, colour: np.ndarray, alpha: np.ndarray) -> None:
        """Mix ``colour`` in where ``alpha`` (rows, columns) is not zero; only those rows are touched."""
        alpha = np.broadcast_to(alpha, self.pixels.shape[:2])
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
