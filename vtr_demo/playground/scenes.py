"""The painted scenes of the playground: a function of a canvas and a random generator each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from vtr_demo.playground.brushes import Canvas, Levels, aside, flat, peaks, rgb, ridge
from vtr_demo.playground.spec import BACKDROPS, SCENES, choose

MARGIN = 0.09
"""Painted beyond each edge of the picture, for a moving camera."""


def paint(scene: str, variant: int, width: int, height: int, levels: Levels) -> Image.Image:
    """Paint one variant of a scene for frames of ``width`` x ``height`` pixels, ``MARGIN`` larger."""
    digest = hashlib.sha256(f"{scene}|{variant % BACKDROPS}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    canvas = Canvas(width, height, MARGIN, levels)
    canvas.sky(*choose(rng, *SCENES[scene].skies), bottom=SCENES[scene].horizon)
    _PAINTERS[scene](canvas, rng)
    return canvas.picture(rng)


# --------------------------------------------------------------------------- landscapes
def _beach(c: Canvas, rng: np.random.Generator) -> None:
    sun = rng.uniform(-0.45, 0.45)
    c.glow(sun, 0.16, 0.42, "#fff3c4", 0.75)
    c.disc(sun, 0.16, 0.05, "#fffbe6")
    c.land(flat(0.5), "#1f8fc4", "#38b6d6", "#8fe0e0", bottom=0.7)
    c.ripples(rng, 0.51, 0.64, "#d9f6f7", 30)
    shore = ridge(rng, 0.665, 0.012, 0.9)
    c.land(lambda x: shore(x) - 0.022, "#e9fbf8", "#c9f1ee", bottom=0.7)
    c.land(shore, "#e3bd84", "#f3d7a0", "#f7e0ae", "#eec98f", rim="#caa06b")
    c.ripples(rng, 0.74, 1.02, "#e0b87c", 26)
    x = aside(rng, c, 0.36)
    c.shade(x, 0.745, 0.13)
    c.prop("palm", x, 0.75, rng.uniform(0.42, 0.52))
    if rng.random() < 0.6:
        c.prop("parasol", -np.sign(x) * rng.uniform(0.4, 0.62), 0.75, 0.2)
    c.prop("shell", aside(rng, c, 0.3), 1.0, 0.06)


def _snow(c: Canvas, rng: np.random.Generator) -> None:
    c.glow(rng.uniform(-0.5, 0.5), 0.2, 0.4, "#ffffff", 0.6)
    c.land(peaks(rng, 0.6, 0.26, 6, c.half), "#b9cfe8", "#dfeaf6", bottom=0.65)
    for level, tint in ((0.6, "#d3e2f2"), (0.64, "#e3edf8")):
        outline = ridge(rng, level, 0.022, 1.1)
        c.land(outline, tint, "#f1f6fc", bottom=0.8)
        for x in rng.uniform(-c.half, c.half, 7):
            c.prop("pine", x, outline(x) + 0.012, rng.uniform(0.1, 0.17), 0.42, haze="#cfe0f2")
    c.land(ridge(rng, 0.7, 0.014, 0.8), "#ffffff", "#eef5fd", "#d5e4f5", rim="#ffffff")
    c.ripples(rng, 0.76, 1.02, "#c6d9ee", 18)
    for side in (-1, 1):
        x = side * rng.uniform(0.44, 0.72)
        c.shade(x, 0.765, 0.1, 0.16)
        c.prop("pine", x, 0.775, rng.uniform(0.3, 0.42), 0.12, haze="#eaf3fc")


def _forest(c: Canvas, rng: np.random.Generator) -> None:
    c.glow(rng.uniform(-0.3, 0.3), 0.2, 0.5, "#fffbe0", 0.8)
    for level, size, fade in ((0.6, 0.34, 0.62), (0.66, 0.46, 0.36)):
        for x in np.linspace(-c.half, c.half, 9) + rng.uniform(-0.06, 0.06, 9):
            tree, high = choose(rng, "pine", "tree"), size * rng.uniform(0.85, 1.2)
            c.prop(tree, x, level + 0.02, high, fade, haze=c.palette[1])
        c.land(ridge(rng, level, 0.01, 1.2), "#8cc48a" if fade > 0.5 else "#74b46c", "#5da05a", bottom=0.8)
    c.land(ridge(rng, 0.71, 0.012, 0.9), "#6cb35c", "#559e4c", "#3f8540", rim="#93cf78")
    c.ripples(rng, 0.76, 1.02, "#478d45", 22)
    for place in (-0.42, 0.12):
        c.beam(place + rng.uniform(-0.1, 0.1), 0.35, 0.16, "#fff9d6", 0.28)
    for side in (-1, 1):
        x = side * rng.uniform(0.5, 0.74)
        c.shade(x, 0.8, 0.14)
        c.prop("tree" if side > 0 else "pine", x, 0.81, rng.uniform(0.5, 0.62))
    c.prop("mushroom", aside(rng, c, 0.34), 0.79, 0.07)


def _underwater(c: Canvas, rng: np.random.Generator) -> None:
    for place in np.linspace(-0.8, 0.8, 6) + rng.uniform(-0.08, 0.08, 6):
        c.beam(place, 0.25, 0.1, "#e6fdff", rng.uniform(0.16, 0.34), bottom=0.85)
    c.land(ridge(rng, 0.66, 0.05, 1.0), "#1a79ae", "#125f92", bottom=0.8)
    c.land(ridge(rng, 0.73, 0.016, 0.9), "#d9c690", "#c7b383", "#8fa08c", rim="#efe2b4")
    c.ripples(rng, 0.78, 1.02, "#b39d6c", 22)
    for _ in range(4):
        x = aside(rng, c, 0.33)
        c.shade(x, 0.79, 0.08)
        c.prop("coral", x, 0.8, rng.uniform(0.14, 0.24), 0.15, haze="#2f8fc0")
    for _ in range(4):
        c.prop("seedling", aside(rng, c, 0.3), 0.79, rng.uniform(0.12, 0.2), 0.3, haze="#157a86")
    c.prop("rock", aside(rng, c, 0.42), 0.8, 0.16, 0.3, haze="#2a78a0")


def _desert(c: Canvas, rng: np.random.Generator) -> None:
    sun = rng.uniform(-0.4, 0.4)
    c.glow(sun, 0.18, 0.4, "#fff6cf", 0.85)
    c.disc(sun, 0.18, 0.055, "#fffdf0")
    c.land(ridge(rng, 0.56, 0.05, 0.8, 2), "#e6b67c", "#dba469", bottom=0.75, rim="#f3cf97")
    c.land(ridge(rng, 0.63, 0.04, 0.7, 2), "#edbf7e", "#dca562", bottom=0.82, rim="#f8dba2")
    c.land(ridge(rng, 0.72, 0.012, 0.8), "#f4cd8d", "#eab873", "#d99f5c", rim="#fbe3b0")
    c.ripples(rng, 0.76, 1.02, "#d59c58", 30)
    for x, size, fade in ((aside(rng, c, 0.2), 0.16, 0.3), (aside(rng, c, 0.45), 0.36, 0.0)):
        ground = 0.77 if fade == 0 else 0.69
        c.shade(x, ground - 0.006, size * 0.4)
        c.prop("cactus", x, ground, size, fade, haze="#f2cf98")
    c.prop("rock", aside(rng, c, 0.4), 0.785, 0.12, 0.2, haze="#e0a868")


def _meadow(c: Canvas, rng: np.random.Generator) -> None:
    c.glow(rng.uniform(-0.5, 0.5), 0.14, 0.4, "#fff9d8", 0.75)
    c.land(ridge(rng, 0.55, 0.03, 0.8), "#a9d9a4", "#8ecb88", bottom=0.7)
    hill = ridge(rng, 0.62, 0.03, 0.9)
    c.land(hill, "#93d07c", "#79bd63", bottom=0.8, rim="#b4e39a")
    for x in rng.uniform(-c.half, c.half, 5):
        c.prop("tree", x, hill(x) + 0.012, rng.uniform(0.08, 0.14), 0.25, haze="#bfe3b0")
    if rng.random() < 0.6:
        x = aside(rng, c, 0.3)
        c.prop("house with garden", x, hill(x) + 0.025, 0.17, 0.12, haze="#cfeac0")
    c.land(ridge(rng, 0.7, 0.014, 0.8), "#8fd166", "#70bb50", "#519f3f", rim="#b7e889")
    c.ripples(rng, 0.75, 1.02, "#5fab47", 30)
    flower = choose(rng, "tulip", "daisy", "sunflower")
    for _ in range(9):
        x = aside(rng, c, 0.28)
        c.prop(flower, x, rng.uniform(0.755, 0.8), rng.uniform(0.05, 0.085))


def _mountains(c: Canvas, rng: np.random.Generator) -> None:
    c.glow(rng.uniform(-0.5, 0.5), 0.16, 0.38, "#fffbe6", 0.7)
    for level, tall, count, shades in (
        (0.62, 0.42, 5, ("#f7fbff", "#c3d3ea", "#93accf", "#8aa5c9")),
        (0.65, 0.3, 7, ("#dfe8f4", "#8aa1c4", "#6c88b0", "#7391a8")),
    ):
        c.land(peaks(rng, level, tall, count, c.half), *shades, bottom=level + 0.02)
    c.land(ridge(rng, 0.645, 0.012, 1.0), "#7fb98a", "#6aa876", bottom=0.8)
    for x in rng.uniform(-c.half, c.half, 12):
        c.prop("pine", x, 0.675, rng.uniform(0.08, 0.14), 0.25, haze="#9cc6b4")
    c.land(ridge(rng, 0.715, 0.016, 0.8), "#86c26c", "#6bab57", "#4f9046", rim="#aee08c")
    c.ripples(rng, 0.76, 1.02, "#5a9b4b", 24)
    x = aside(rng, c, 0.48)
    c.shade(x, 0.775, 0.12)
    c.prop("pine", x, 0.785, 0.36)
    if rng.random() < 0.6:
        c.shade(-x, 0.755, 0.12)
        c.prop("tent", -x, 0.765, 0.2)


def _savanna(c: Canvas, rng: np.random.Generator) -> None:
    sun = rng.uniform(-0.3, 0.3)
    c.glow(sun, 0.52, 0.5, "#fff0b0", 0.9)
    c.disc(sun, 0.5, 0.11, "#fff6cf")
    c.land(ridge(rng, 0.59, 0.03, 0.8, 2), "#a4585a", "#8f4a50", bottom=0.72)
    c.land(ridge(rng, 0.64, 0.012, 0.9), "#b8703f", "#a8622f", bottom=0.8)
    for x in rng.uniform(-c.half, c.half, 4):
        c.prop("tree", x, 0.665, rng.uniform(0.14, 0.22), 0.62, haze="#5e3040")
    c.land(ridge(rng, 0.715, 0.012, 0.8), "#d99a4a", "#c07f38", "#8f5a2c", rim="#f6c877")
    c.ripples(rng, 0.75, 1.02, "#a0672e", 28)
    for _ in range(5):
        x, ground = aside(rng, c, 0.36), rng.uniform(0.77, 0.81)
        c.prop("reed", x, ground, rng.uniform(0.1, 0.17), 0.25, haze="#b5702f")


# --------------------------------------------------------------------------- town, rooms, moon and clouds
def _skyline(c: Canvas, rng: np.random.Generator, base: float, colour: str, *, lit: str, tall: float) -> None:
    """A row of plain houses with windows."""
    x = -c.half
    while x < c.half:
        wide, top = rng.uniform(0.08, 0.17), base - tall * rng.uniform(0.5, 1.0)
        c.band(x, top, x + wide, base + 0.02, colour)
        if lit:
            for wx in np.arange(x + 0.018, x + wide - 0.02, 0.03):
                for wy in np.arange(top + 0.025, base - 0.02, 0.042):
                    if rng.random() < 0.55:
                        c.band(wx, wy, wx + 0.013, wy + 0.02, lit, alpha=rng.uniform(0.5, 0.95))
        x += wide + rng.uniform(0.0, 0.02)


def _road(c: Canvas, walk: str, kerb: str, road: tuple[str, str], line: str) -> None:
    c.band(-9, 0.66, 9, 0.735, walk)
    c.band(-9, 0.73, 9, 0.742, kerb)
    c.land(flat(0.742), *road)
    for x in np.arange(-2, 2, 0.24):
        c.band(x, 0.852, x + 0.13, 0.863, line, alpha=0.75)


def _street(c: Canvas, rng: np.random.Generator) -> None:
    c.glow(rng.uniform(-0.5, 0.5), 0.12, 0.4, "#fffbe3", 0.7)
    _skyline(c, rng, 0.66, "#bcd4e8", lit="#d9e9f5", tall=0.42)
    _skyline(c, rng, 0.66, "#a3bfd9", lit="#c7dcee", tall=0.26)
    _road(c, "#d8d4cf", "#b3afab", ("#747b88", "#5d6472"), "#f4f1e4")
    x = -c.half + 0.06
    while x < c.half:
        code = choose(rng, "house", "office", "tree", "house with garden")
        size = {"office": 0.34, "tree": 0.24}.get(code, 0.27)
        c.shade(x, 0.69, size * 0.5, 0.18)
        c.prop(code, x, 0.69, size, 0.1, haze="#dcebf7")
        x += size * rng.uniform(0.85, 1.1)


def _night_city(c: Canvas, rng: np.random.Generator) -> None:
    c.stars(rng, 0.45, 70)
    moon = rng.uniform(-0.4, 0.4)
    c.glow(moon, 0.15, 0.26, "#cfd6ff", 0.5)
    c.disc(moon, 0.15, 0.052, "#fdf6dc")
    c.disc(moon + 0.018, 0.14, 0.013, "#eadfbd", 0.7)
    c.disc(moon - 0.016, 0.165, 0.009, "#eadfbd", 0.7)
    _skyline(c, rng, 0.68, "#232a5c", lit="#8d86c9", tall=0.42)
    _skyline(c, rng, 0.69, "#161b42", lit="#ffd98a", tall=0.3)
    _road(c, "#3d3f66", "#54567f", ("#2b2f52", "#1e2140"), "#d8cf9a")
    for x in np.arange(-1.0, 1.01, 0.5) + rng.uniform(-0.08, 0.08):
        c.band(x - 0.005, 0.4, x + 0.005, 0.72, "#4b4f78")
        c.glow(x, 0.4, 0.12, "#ffe2a0", 0.75)
        c.disc(x, 0.4, 0.016, "#fff3cf")
        c.glow(x, 0.74, 0.16, "#ffdf9c", 0.28)


def _living_room(c: Canvas, rng: np.random.Generator) -> None:
    c.glow(rng.uniform(-0.3, 0.3), 0.3, 0.6, "#fffaf0", 0.5)
    window = choose(rng, -1, 1) * rng.uniform(0.2, 0.3)
    c.band(window - 0.15, 0.1, window + 0.15, 0.42, "#ffffff")
    c.band(window - 0.135, 0.115, window + 0.135, 0.405, "#9fd6f5")
    c.glow(window, 0.4, 0.15, "#eafaff", 0.7)
    c.band(window - 0.006, 0.1, window + 0.006, 0.42, "#ffffff")
    c.band(window - 0.15, 0.25, window + 0.15, 0.262, "#ffffff")
    c.prop("painting", -window * 1.2, 0.36, 0.2)
    c.band(-9, 0.645, 9, 0.67, "#fffaf2")
    c.land(flat(0.668), "#c99664", "#bd8655", "#a8713f")
    for y in (0.715, 0.775, 0.85, 0.945):
        c.band(-9, y, 9, y + 0.003, "#8f5f35", alpha=0.4)
    rug = choose(rng, ("#e8746a", "#f3a79c"), ("#4f8fb8", "#8bbbd6"), ("#7a9c6b", "#aec79f"))
    c.oval(0, 0.87, 0.62, 0.125, rug[0], alpha=0.95)
    c.oval(0, 0.87, 0.56, 0.108, rug[1], alpha=0.95)
    c.shade(window * -2.1, 0.715, 0.22)
    c.prop("couch", -np.sign(window) * rng.uniform(0.55, 0.66), 0.72, 0.4)
    c.shade(window * 2, 0.715, 0.1)
    c.prop("potted plant", np.sign(window) * rng.uniform(0.5, 0.66), 0.72, 0.24)


def _stage(c: Canvas, rng: np.random.Generator) -> None:
    curtain = c.palette
    fold = 0.5 + 0.5 * np.sin(2 * np.pi * (c.x * 9 + 0.3 * np.sin(5 * c.x) + rng.random()))
    c.land(flat(-1), curtain[0], bottom=2)
    c.blend(rgb(curtain[1]), 0.75 * fold[None, :] + 0 * c.y)
    c.blend(np.zeros(3, np.float32), np.clip((c.y - 0.35) * 0.7, 0, 0.4) + 0 * c.x[None, :])
    c.land(flat(0.69), "#8a5630", "#b37644", "#9c6236", rim="#5d371c")
    for x in np.linspace(-3, 3, 29):
        slope = ((c.y - 0.69) / 0.31).clip(0, 2)
        near = np.abs(c.x[None, :] - x * (0.35 + 0.65 * slope)) < 0.0016
        c.blend(np.array([94, 56, 28], np.float32), near * 0.5 * (c.y > 0.695))
    c.glow(0, 0.84, 0.5, "#ffe9b8", 0.55)
    for place, lean in ((-0.55, 0.75), (0.0, 0.0), (0.55, -0.75)):
        c.beam(place, lean, 0.2, "#fff3cf", 0.34, bottom=1.0)
    c.band(-9, -0.2, 9, 0.045, curtain[2])
    for y, radius, tint in ((0.045, 0.08, curtain[2]), (0.118, 0.009, "#f3c75a")):
        for x in np.arange(-1.2, 1.2, 0.16):
            c.disc(x, y, radius, tint)


def _moon(c: Canvas, rng: np.random.Generator) -> None:
    c.glow(rng.uniform(-0.6, 0.6), 0.3, 0.5, choose(rng, "#4a5fd0", "#8a4fc0", "#2f86b8"), 0.45)
    c.stars(rng, 0.7, 120)
    side = choose(rng, -1, 1)
    c.prop("earth", side * rng.uniform(0.3, 0.5), 0.32, 0.2)
    c.prop("planet", -side * rng.uniform(0.4, 0.6), 0.22, 0.13, 0.15, haze="#1a1f50")
    c.land(ridge(rng, 0.66, 0.03, 0.9), "#7d80a0", "#5e6187", bottom=0.8, rim="#a9acc8")
    c.land(ridge(rng, 0.72, 0.016, 0.8), "#c3c5d8", "#a3a6c0", "#7b7ea0", rim="#e4e6f2")
    for _ in range(8):
        x, near = rng.uniform(-c.half, c.half), rng.random()
        y, wide = 0.76 + 0.24 * near, 0.04 + 0.07 * near
        c.oval(x, y, wide, wide * 0.26, "#8a8dab", alpha=0.8)
        c.oval(x, y + wide * 0.06, wide * 0.86, wide * 0.19, "#9c9fbb", alpha=0.9)


def _clouds(c: Canvas, rng: np.random.Generator) -> None:
    c.glow(rng.uniform(-0.4, 0.4), 0.25, 0.5, "#fffbe8", 0.8)
    for level, tint in ((0.68, "#dcebf8"), (0.75, "#f0f7fd"), (0.83, "#ffffff"), (0.95, "#f2f8fe")):
        for x in np.linspace(-c.half, c.half, 12) + rng.uniform(-0.05, 0.05, 12):
            radius = rng.uniform(0.07, 0.12)
            c.glow(x, level + radius * 0.9, radius * 1.5, tint, 1.0)
            c.disc(x, level + radius * 0.6, radius, tint, 0.85)
        c.land(flat(level + 0.07), tint, tint)
    c.ripples(rng, 0.86, 1.02, "#dbe9f7", 16)
    for _ in range(5):
        x = aside(rng, c, 0.3)
        c.prop("cloud", x, rng.uniform(0.7, 0.78), rng.uniform(0.2, 0.34), 0.25, haze="#f4f9ff")


_PAINTERS: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    "beach": _beach,
    "snow": _snow,
    "forest": _forest,
    "street": _street,
    "night city": _night_city,
    "underwater": _underwater,
    "desert": _desert,
    "living room": _living_room,
    "meadow": _meadow,
    "mountains": _mountains,
    "moon": _moon,
    "clouds": _clouds,
    "stage": _stage,
    "savanna": _savanna,
}
