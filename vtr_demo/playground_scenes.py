"""The scenes of the playground: each variant is painted once, a little larger than the picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vtr_demo import playground_nature as nature
from vtr_demo import playground_town as town
from vtr_demo.playground_easel import Easel, Levels, Weather
from vtr_demo.playground_spec import BACKDROPS

MARGIN = 0.09
"""Painted beyond each edge of the picture, for the camera."""


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A painted scene: RGB picture with ``MARGIN`` around the frame, and its weather."""

    picture: Image.Image
    width: int
    height: int
    weather: Weather


def paint(scene: str, variant: int, width: int, height: int, levels: Levels) -> Backdrop:
    """Paint one variant of a scene for frames of ``width`` x ``height`` pixels."""
    digest = hashlib.sha256(f"{scene}|{variant % BACKDROPS}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    easel = Easel(width, height, MARGIN, levels)
    weather = _PAINTERS[scene](easel, rng)
    easel.speckle(rng)
    return Backdrop(easel.picture(), width, height, weather)


_PAINTERS: dict[str, Callable[[Easel, np.random.Generator], Weather]] = {
    "beach": nature.beach,
    "snow": nature.snow,
    "forest": nature.forest,
    "street": town.street,
    "night city": town.night_city,
    "underwater": nature.underwater,
    "desert": nature.desert,
    "living room": town.living_room,
    "meadow": nature.meadow,
    "mountains": nature.mountains,
    "moon": town.moon,
    "clouds": town.clouds,
    "stage": town.stage,
    "savanna": nature.savanna,
}
