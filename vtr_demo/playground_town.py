"""Painters of the playground's other scenes: streets, living room, stage, moon, clouds."""

from __future__ import annotations

import numpy as np

from vtr_demo.playground_easel import (
    CLOUD,
    COUCH,
    EARTH,
    GARDEN_HOUSE,
    HOUSE,
    OFFICE,
    PAINTING,
    PLANET,
    PLANT,
    TREE,
    Easel,
    Weather,
    aside,
    choose,
    flat,
    rgb,
    ridge,
)


def _skyline(e: Easel, rng: np.random.Generator, base: float, colour: str, *, lit: str, tall: float) -> None:
    """A row of plain houses with windows."""
    x = -e.half
    while x < e.half:
        wide, top = rng.uniform(0.08, 0.17), base - tall * rng.uniform(0.5, 1.0)
        e.band(x, top, x + wide, base + 0.02, colour)
        if lit:
            for wx in np.arange(x + 0.018, x + wide - 0.02, 0.03):
                for wy in np.arange(top + 0.025, base - 0.02, 0.042):
                    if rng.random() < 0.55:
                        e.band(wx, wy, wx + 0.013, wy + 0.02, lit, alpha=rng.uniform(0.5, 0.95))
        x += wide + rng.uniform(0.0, 0.02)


def _road(e: Easel, walk: str, kerb: str, road: tuple[str, str], line: str) -> None:
    e.band(-9, 0.66, 9, 0.735, walk)
    e.band(-9, 0.73, 9, 0.742, kerb)
    e.land(flat(0.742), *road)
    for x in np.arange(-2, 2, 0.24):
        e.band(x, 0.852, x + 0.13, 0.863, line, alpha=0.75)


def street(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(*choose(rng, ("#6cc0f5", "#c9ebfb", "#f3fafc"), ("#89b4ee", "#f7d9c9", "#fff1dc")), bottom=0.65)
    e.glow(rng.uniform(-0.5, 0.5), 0.12, 0.4, "#fffbe3", 0.7)
    _skyline(e, rng, 0.66, "#bcd4e8", lit="#d9e9f5", tall=0.42)
    _skyline(e, rng, 0.66, "#a3bfd9", lit="#c7dcee", tall=0.26)
    _road(e, "#d8d4cf", "#b3afab", ("#747b88", "#5d6472"), "#f4f1e4")
    x = -e.half + 0.06
    while x < e.half:
        code = str(rng.choice([HOUSE, OFFICE, TREE, GARDEN_HOUSE]))
        size = {OFFICE: 0.34, TREE: 0.24}.get(code, 0.27)
        e.shade(x, 0.69, size * 0.5, 0.18)
        e.prop(code, x, 0.69, size, 0.1, haze="#dcebf7")
        x += size * rng.uniform(0.85, 1.1)
    return Weather(clouds=2)


def night_city(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(*choose(rng, ("#0b1038", "#27306f", "#6a4f94"), ("#071426", "#173a63", "#3f6d94")), bottom=0.66)
    e.stars(rng, 0.45, 70)
    moon = rng.uniform(-0.4, 0.4)
    e.glow(moon, 0.15, 0.26, "#cfd6ff", 0.5)
    e.disc(moon, 0.15, 0.052, "#fdf6dc")
    e.disc(moon + 0.018, 0.14, 0.013, "#eadfbd", 0.7)
    e.disc(moon - 0.016, 0.165, 0.009, "#eadfbd", 0.7)
    _skyline(e, rng, 0.68, "#232a5c", lit="#8d86c9", tall=0.42)
    _skyline(e, rng, 0.69, "#161b42", lit="#ffd98a", tall=0.3)
    _road(e, "#3d3f66", "#54567f", ("#2b2f52", "#1e2140"), "#d8cf9a")
    for x in np.arange(-1.0, 1.01, 0.5) + rng.uniform(-0.08, 0.08):
        e.band(x - 0.005, 0.4, x + 0.005, 0.72, "#4b4f78")
        e.glow(x, 0.4, 0.12, "#ffe2a0", 0.75)
        e.disc(x, 0.4, 0.016, "#fff3cf")
        e.glow(x, 0.74, 0.16, "#ffdf9c", 0.28)
    return Weather(flakes=8, flake_size=0.004, twinkle=True)


def living_room(e: Easel, rng: np.random.Generator) -> Weather:
    wall = choose(
        rng, ("#f6dfc9", "#efcfb4"), ("#d6e5e3", "#bfd6d4"), ("#e7dcf2", "#d2c2e6"), ("#f7e6b5", "#efd592")
    )
    e.sky(*wall, bottom=0.66)
    e.glow(rng.uniform(-0.3, 0.3), 0.3, 0.6, "#fffaf0", 0.5)
    window = float(rng.choice([-1, 1])) * rng.uniform(0.2, 0.3)
    e.band(window - 0.15, 0.1, window + 0.15, 0.42, "#ffffff")
    e.band(window - 0.135, 0.115, window + 0.135, 0.405, "#9fd6f5")
    e.glow(window, 0.4, 0.15, "#eafaff", 0.7)
    e.band(window - 0.006, 0.1, window + 0.006, 0.42, "#ffffff")
    e.band(window - 0.15, 0.25, window + 0.15, 0.262, "#ffffff")
    e.prop(PAINTING, -window * 1.2, 0.36, 0.2)
    e.band(-9, 0.645, 9, 0.67, "#fffaf2")
    e.land(flat(0.668), "#c99664", "#bd8655", "#a8713f")
    for y in (0.715, 0.775, 0.85, 0.945):
        e.band(-9, y, 9, y + 0.003, "#8f5f35", alpha=0.4)
    rug = choose(rng, ("#e8746a", "#f3a79c"), ("#4f8fb8", "#8bbbd6"), ("#7a9c6b", "#aec79f"))
    e.oval(0, 0.87, 0.62, 0.125, rug[0], alpha=0.95)
    e.oval(0, 0.87, 0.56, 0.108, rug[1], alpha=0.95)
    e.shade(window * -2.1, 0.715, 0.22)
    e.prop(COUCH, -np.sign(window) * rng.uniform(0.55, 0.66), 0.72, 0.4)
    e.shade(window * 2, 0.715, 0.1)
    e.prop(PLANT, np.sign(window) * rng.uniform(0.5, 0.66), 0.72, 0.24)
    return Weather(flakes=5, flake_colour=(255, 250, 230), flake_size=0.003, flake_speed=-0.01)


def stage(e: Easel, rng: np.random.Generator) -> Weather:
    curtain = choose(
        rng,
        ("#8f1430", "#c8284a", "#5e0a1e"),
        ("#1b3f8f", "#2f63c8", "#102a5e"),
        ("#5b1a7a", "#8f3cb8", "#3a0e52"),
    )
    fold = 0.5 + 0.5 * np.sin(2 * np.pi * (e.x * 9 + 0.3 * np.sin(5 * e.x) + rng.random()))
    e.sky(curtain[0], curtain[2], bottom=0.8)
    e.land(flat(-1), curtain[0], bottom=2)
    e._blend(
        rgb(curtain[1]),
        0.75 * fold[None, :] + 0 * e.y,
    )
    e._blend(np.zeros(3, np.float32), np.clip((e.y - 0.35) * 0.7, 0, 0.4) + 0 * e.x[None, :])
    e.land(flat(0.69), "#8a5630", "#b37644", "#9c6236", rim="#5d371c")
    for x in np.linspace(-3, 3, 29):
        slope = ((e.y - 0.69) / 0.31).clip(0, 2)
        near = np.abs(e.x[None, :] - x * (0.35 + 0.65 * slope)) < 0.0016
        e._blend(np.array([94, 56, 28], np.float32), near * 0.5 * (e.y > 0.695))
    e.glow(0, 0.84, 0.5, "#ffe9b8", 0.55)
    for place, lean in ((-0.55, 0.75), (0.0, 0.0), (0.55, -0.75)):
        e.beam(place, lean, 0.2, "#fff3cf", 0.34, bottom=1.0)
    e.band(-9, -0.2, 9, 0.045, curtain[2])
    for x in np.arange(-1.2, 1.2, 0.16):
        e.disc(x, 0.045, 0.08, curtain[2])
    for x in np.arange(-1.2, 1.2, 0.16):
        e.disc(x, 0.118, 0.009, "#f3c75a")
    return Weather(flakes=10, flake_colour=(255, 240, 200), flake_size=0.004, flake_speed=-0.015)


def moon(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(*choose(rng, ("#05071c", "#121a45", "#2b2f6e"), ("#0a0518", "#251243", "#51306f")), bottom=0.75)
    e.glow(rng.uniform(-0.6, 0.6), 0.3, 0.5, str(rng.choice(["#4a5fd0", "#8a4fc0", "#2f86b8"])), 0.45)
    e.stars(rng, 0.7, 120)
    side = float(rng.choice([-1, 1]))
    e.prop(EARTH, side * rng.uniform(0.3, 0.5), 0.32, 0.2)
    e.prop(PLANET, -side * rng.uniform(0.4, 0.6), 0.22, 0.13, 0.15, haze="#1a1f50")
    e.land(ridge(rng, 0.66, 0.03, 0.9), "#7d80a0", "#5e6187", bottom=0.8, rim="#a9acc8")
    e.land(ridge(rng, 0.72, 0.016, 0.8), "#c3c5d8", "#a3a6c0", "#7b7ea0", rim="#e4e6f2")
    for _ in range(8):
        x, near = rng.uniform(-e.half, e.half), rng.random()
        y, wide = 0.76 + 0.24 * near, 0.04 + 0.07 * near
        e.oval(x, y, wide, wide * 0.26, "#8a8dab", alpha=0.8)
        e.oval(x, y + wide * 0.06, wide * 0.86, wide * 0.19, "#9c9fbb", alpha=0.9)
    return Weather(flakes=10, flake_size=0.004, twinkle=True)


def clouds(e: Easel, rng: np.random.Generator) -> Weather:
    sky = choose(
        rng, ("#2f86e0", "#86c9f7", "#dff3fd"), ("#5a6fd0", "#f4a9b8", "#ffe0c0"), ("#4aa8e8", "#c4e8fb")
    )
    e.sky(*sky, bottom=0.72)
    e.glow(rng.uniform(-0.4, 0.4), 0.25, 0.5, "#fffbe8", 0.8)
    for level, tint, count in (
        (0.68, "#dcebf8", 12),
        (0.75, "#f0f7fd", 12),
        (0.83, "#ffffff", 12),
        (0.95, "#f2f8fe", 12),
    ):
        for x in np.linspace(-e.half, e.half, count) + rng.uniform(-0.05, 0.05, count):
            radius = rng.uniform(0.07, 0.12)
            e.glow(x, level + radius * 0.9, radius * 1.5, tint, 1.0)
            e.disc(x, level + radius * 0.6, radius, tint, 0.85)
        e.land(flat(level + 0.07), tint, tint)
    e.ripples(rng, 0.86, 1.02, "#dbe9f7", 16)
    for _ in range(5):
        x = aside(rng, e, 0.3)
        e.prop(CLOUD, x, rng.uniform(0.7, 0.78), rng.uniform(0.2, 0.34), 0.25, haze="#f4f9ff")
    return Weather(clouds=4, cloud_alpha=0.95, shadow=0.55)
