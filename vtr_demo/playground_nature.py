"""Painters of the playground's landscapes: beach, snow, forest, sea, desert, meadow, mountains, savanna."""

from __future__ import annotations

import numpy as np

from vtr_demo.playground_easel import (
    BLOSSOM,
    CACTUS,
    CORAL,
    GARDEN_HOUSE,
    PALM,
    PARASOL,
    PINE,
    REED,
    ROCK,
    SEEDLING,
    SHELL,
    TENT,
    TREE,
    TULIP,
    Easel,
    Weather,
    aside,
    choose,
    flat,
    peaks,
    ridge,
)


def beach(e: Easel, rng: np.random.Generator) -> Weather:
    sky = choose(
        rng, ("#4fb4f2", "#a5def8", "#e9f7f4"), ("#6a8fe0", "#f2b6c4", "#ffe1b8"), ("#3fa7e6", "#bfe9f7")
    )
    e.sky(*sky, bottom=0.52)
    sun = rng.uniform(-0.45, 0.45)
    e.glow(sun, 0.16, 0.42, "#fff3c4", 0.75)
    e.disc(sun, 0.16, 0.05, "#fffbe6")
    e.land(flat(0.5), "#1f8fc4", "#38b6d6", "#8fe0e0", bottom=0.7)
    e.ripples(rng, 0.51, 0.64, "#d9f6f7", 30)
    shore = ridge(rng, 0.665, 0.012, 0.9)
    e.land(lambda x: shore(x) - 0.022, "#e9fbf8", "#c9f1ee", bottom=0.7)
    e.land(shore, "#e3bd84", "#f3d7a0", "#f7e0ae", "#eec98f", rim="#caa06b")
    e.ripples(rng, 0.74, 1.02, "#e0b87c", 26)
    x = aside(rng, e, 0.36)
    e.shade(x, 0.745, 0.13)
    e.prop(PALM, x, 0.75, rng.uniform(0.42, 0.52))
    if rng.random() < 0.6:
        e.prop(PARASOL, -np.sign(x) * rng.uniform(0.4, 0.62), 0.75, 0.2)
    e.prop(SHELL, aside(rng, e, 0.3), 1.0, 0.06)
    return Weather(clouds=2)


def snow(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(*choose(rng, ("#7fb2e5", "#cfe6f7", "#f6fbff"), ("#8e9fd6", "#d9d3ee", "#fbeef0")), bottom=0.6)
    e.glow(rng.uniform(-0.5, 0.5), 0.2, 0.4, "#ffffff", 0.6)
    e.land(peaks(rng, 0.6, 0.26, 6, e.half), "#b9cfe8", "#dfeaf6", bottom=0.65)
    for level, tint in ((0.6, "#d3e2f2"), (0.64, "#e3edf8")):
        outline = ridge(rng, level, 0.022, 1.1)
        e.land(outline, tint, "#f1f6fc", bottom=0.8)
        for x in rng.uniform(-e.half, e.half, 7):
            e.prop(
                PINE,
                x,
                float(outline(np.array([x]))[0]) + 0.012,
                rng.uniform(0.1, 0.17),
                0.42,
                haze="#cfe0f2",
            )
    e.land(ridge(rng, 0.7, 0.014, 0.8), "#ffffff", "#eef5fd", "#d5e4f5", rim="#ffffff")
    e.ripples(rng, 0.76, 1.02, "#c6d9ee", 18)
    for side in (-1, 1):
        x = side * rng.uniform(0.44, 0.72)
        e.shade(x, 0.765, 0.1, 0.16)
        e.prop(PINE, x, 0.775, rng.uniform(0.3, 0.42), 0.12, haze="#eaf3fc")
    return Weather(flakes=22, flake_speed=0.14, flake_size=0.009, shadow=0.62)


def forest(e: Easel, rng: np.random.Generator) -> Weather:
    light = choose(rng, ("#d9f2c4", "#a6d79a"), ("#f6eec0", "#b9d38c"), ("#c4ecd9", "#86c7a4"))
    e.sky(light[0], light[1], "#7dbb7d", bottom=0.7)
    e.glow(rng.uniform(-0.3, 0.3), 0.2, 0.5, "#fffbe0", 0.8)
    for level, size, fade, haze in ((0.6, 0.34, 0.62, light[1]), (0.66, 0.46, 0.36, light[1])):
        for x in np.linspace(-e.half, e.half, 9) + rng.uniform(-0.06, 0.06, 9):
            e.prop(
                str(rng.choice([PINE, TREE])), x, level + 0.02, size * rng.uniform(0.85, 1.2), fade, haze=haze
            )
        e.land(ridge(rng, level, 0.01, 1.2), "#8cc48a" if fade > 0.5 else "#74b46c", "#5da05a", bottom=0.8)
    e.land(ridge(rng, 0.71, 0.012, 0.9), "#6cb35c", "#559e4c", "#3f8540", rim="#93cf78")
    e.ripples(rng, 0.76, 1.02, "#478d45", 22)
    for place in (-0.42, 0.12):
        e.beam(place + rng.uniform(-0.1, 0.1), 0.35, 0.16, "#fff9d6", 0.28)
    for side in (-1, 1):
        x = side * rng.uniform(0.5, 0.74)
        e.shade(x, 0.8, 0.14)
        e.prop(TREE if side > 0 else PINE, x, 0.81, rng.uniform(0.5, 0.62))
    e.prop("1f344", aside(rng, e, 0.34), 0.79, 0.07)
    return Weather(flakes=9, flake_colour=(255, 250, 205), flake_size=0.006, flake_speed=-0.02)


def underwater(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(*choose(rng, ("#6fdcec", "#1d8fc7", "#0d5795"), ("#8ae6d6", "#219fb0", "#0e5f80")), bottom=0.9)
    for place in np.linspace(-0.8, 0.8, 6) + rng.uniform(-0.08, 0.08, 6):
        e.beam(place, 0.25, 0.1, "#e6fdff", rng.uniform(0.16, 0.34), bottom=0.85)
    e.land(ridge(rng, 0.66, 0.05, 1.0), "#1a79ae", "#125f92", bottom=0.8)
    e.land(ridge(rng, 0.73, 0.016, 0.9), "#d9c690", "#c7b383", "#8fa08c", rim="#efe2b4")
    e.ripples(rng, 0.78, 1.02, "#b39d6c", 22)
    for _ in range(4):
        x = aside(rng, e, 0.33)
        e.shade(x, 0.79, 0.08)
        e.prop(CORAL, x, 0.8, rng.uniform(0.14, 0.24), 0.15, haze="#2f8fc0")
    for _ in range(4):
        e.prop(SEEDLING, aside(rng, e, 0.3), 0.79, rng.uniform(0.12, 0.2), 0.3, haze="#157a86")
    e.prop(ROCK, aside(rng, e, 0.42), 0.8, 0.16, 0.3, haze="#2a78a0")
    return Weather(flakes=14, flake_speed=-0.12, flake_size=0.01, flake_colour=(214, 246, 255))


def desert(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(*choose(rng, ("#5fb3ea", "#cfeaf0", "#fbeccb"), ("#f09a6a", "#fbc98c", "#ffe8b8")), bottom=0.6)
    sun = rng.uniform(-0.4, 0.4)
    e.glow(sun, 0.18, 0.4, "#fff6cf", 0.85)
    e.disc(sun, 0.18, 0.055, "#fffdf0")
    e.land(ridge(rng, 0.56, 0.05, 0.8, 2), "#e6b67c", "#dba469", bottom=0.75, rim="#f3cf97")
    e.land(ridge(rng, 0.63, 0.04, 0.7, 2), "#edbf7e", "#dca562", bottom=0.82, rim="#f8dba2")
    e.land(ridge(rng, 0.72, 0.012, 0.8), "#f4cd8d", "#eab873", "#d99f5c", rim="#fbe3b0")
    e.ripples(rng, 0.76, 1.02, "#d59c58", 30)
    for x, size, fade in ((aside(rng, e, 0.2), 0.16, 0.3), (aside(rng, e, 0.45), 0.36, 0.0)):
        ground = 0.77 if fade == 0 else 0.69
        e.shade(x, ground - 0.006, size * 0.4)
        e.prop(CACTUS, x, ground, size, fade, haze="#f2cf98")
    e.prop(ROCK, aside(rng, e, 0.4), 0.785, 0.12, 0.2, haze="#e0a868")
    return Weather(flakes=6, flake_colour=(255, 236, 196), flake_size=0.004, flake_speed=0.015)


def meadow(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(*choose(rng, ("#58b7f3", "#bfe8fa", "#f2fbf0"), ("#79a9ec", "#f5cfd6", "#fff2d6")), bottom=0.6)
    e.glow(rng.uniform(-0.5, 0.5), 0.14, 0.4, "#fff9d8", 0.75)
    e.land(ridge(rng, 0.55, 0.03, 0.8), "#a9d9a4", "#8ecb88", bottom=0.7)
    hill = ridge(rng, 0.62, 0.03, 0.9)
    e.land(hill, "#93d07c", "#79bd63", bottom=0.8, rim="#b4e39a")
    for x in rng.uniform(-e.half, e.half, 5):
        e.prop(TREE, x, float(hill(np.array([x]))[0]) + 0.012, rng.uniform(0.08, 0.14), 0.25, haze="#bfe3b0")
    if rng.random() < 0.6:
        x = aside(rng, e, 0.3)
        e.prop(GARDEN_HOUSE, x, float(hill(np.array([x]))[0]) + 0.025, 0.17, 0.12, haze="#cfeac0")
    e.land(ridge(rng, 0.7, 0.014, 0.8), "#8fd166", "#70bb50", "#519f3f", rim="#b7e889")
    e.ripples(rng, 0.75, 1.02, "#5fab47", 30)
    flower = str(rng.choice([TULIP, BLOSSOM, "1f33b"]))
    for _ in range(9):
        x = aside(rng, e, 0.28)
        e.prop(flower, x, rng.uniform(0.755, 0.8), rng.uniform(0.05, 0.085))
    return Weather(clouds=3, flakes=6, flake_colour=(255, 255, 244), flake_size=0.005, flake_speed=0.02)


def mountains(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(*choose(rng, ("#4da3ea", "#b6e0f7", "#eef7f4"), ("#6d7fd0", "#f0b9b6", "#ffe3bb")), bottom=0.6)
    e.glow(rng.uniform(-0.5, 0.5), 0.16, 0.38, "#fffbe6", 0.7)
    for level, tall, count, shades in (
        (0.62, 0.42, 5, ("#f7fbff", "#c3d3ea", "#93accf", "#8aa5c9")),
        (0.65, 0.3, 7, ("#dfe8f4", "#8aa1c4", "#6c88b0", "#7391a8")),
    ):
        e.land(peaks(rng, level, tall, count, e.half), *shades, bottom=level + 0.02)
    e.land(ridge(rng, 0.645, 0.012, 1.0), "#7fb98a", "#6aa876", bottom=0.8)
    for x in rng.uniform(-e.half, e.half, 12):
        e.prop(PINE, x, 0.675, rng.uniform(0.08, 0.14), 0.25, haze="#9cc6b4")
    e.land(ridge(rng, 0.715, 0.016, 0.8), "#86c26c", "#6bab57", "#4f9046", rim="#aee08c")
    e.ripples(rng, 0.76, 1.02, "#5a9b4b", 24)
    x = aside(rng, e, 0.48)
    e.shade(x, 0.775, 0.12)
    e.prop(PINE, x, 0.785, 0.36)
    if rng.random() < 0.6:
        e.shade(-x, 0.755, 0.12)
        e.prop(TENT, -x, 0.765, 0.2)
    return Weather(clouds=2)


def savanna(e: Easel, rng: np.random.Generator) -> Weather:
    e.sky(
        *choose(
            rng, ("#5b3b8c", "#e4576a", "#ffb35c", "#ffe29a"), ("#39508f", "#d9738c", "#ffc06f", "#ffedb0")
        ),
        bottom=0.6,
    )
    sun = rng.uniform(-0.3, 0.3)
    e.glow(sun, 0.52, 0.5, "#fff0b0", 0.9)
    e.disc(sun, 0.5, 0.11, "#fff6cf")
    e.land(ridge(rng, 0.59, 0.03, 0.8, 2), "#a4585a", "#8f4a50", bottom=0.72)
    e.land(ridge(rng, 0.64, 0.012, 0.9), "#b8703f", "#a8622f", bottom=0.8)
    for x in rng.uniform(-e.half, e.half, 4):
        e.prop(TREE, x, 0.665, rng.uniform(0.14, 0.22), 0.62, haze="#5e3040")
    e.land(ridge(rng, 0.715, 0.012, 0.8), "#d99a4a", "#c07f38", "#8f5a2c", rim="#f6c877")
    e.ripples(rng, 0.75, 1.02, "#a0672e", 28)
    for _ in range(5):
        e.prop(
            REED, aside(rng, e, 0.36), rng.uniform(0.77, 0.81), rng.uniform(0.1, 0.17), 0.25, haze="#b5702f"
        )
    return Weather(flakes=8, flake_colour=(255, 226, 160), flake_size=0.005, flake_speed=-0.02)
