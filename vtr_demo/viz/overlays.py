"""Every colour of the pictures, the sums of a score's parts that they show, and how these lie on frames.

Each sum is over the summands of the score, so what is painted is what was ranked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from vtr_demo.structures import Alignment

# --------------------------------------------------------------------------- colours
POSITIVE = "#f27a16"
"""Raises the score."""
NEGATIVE = "#5d6be6"
"""Lowers the score."""

TERM_COLOURS = {
    "global": "#3f71cb",
    "entity": "#46b98f",
    "action": "#c8485a",
    "relationship": "#c08ff2",
    "concepts": "#e09a22",
}

CONCEPT_COLOURS = (
    *("#8cb20d", "#0d0dff", "#e60dbf", "#0d664c", "#73b2ff", "#b20d0d", "#59ffa6", "#7f2699"),
    *("#e6a68c", "#a6730d", "#0d7fff", "#ffcc0d", "#0d9973", "#73668c", "#0de6ff", "#f273bf"),
    *("#660dcc", "#ff4c73", "#ffa6cc", "#7373cc", "#bf0d66", "#8c8cf2", "#4ca6a6", "#ccbf4c"),
    *("#5959e6", "#8c9933", "#a6e673", "#338c99", "#4c597f", "#4ccca6", "#73a6cc", "#595926"),
)
"""The colour of each concept by its number. The first 16 differ as much as a search found, also to people with
protanopia or deuteranopia; the others follow greedily."""
NO_CONCEPT = "#8b919c"


class Paint(NamedTuple):
    """How contributions and concepts are painted; the page's scripts paint by the same numbers (by eye, on both
    grounds). Opacities and shares are 0..1."""

    strongest: float = 0.82
    """Opacity at the end of the scale: a trace of the picture stays visible."""
    curve: float = 0.8
    """Opacity grows as strength to this power, so that half the range is seen as half."""
    on_frames: float = 0.62
    """Share of a tint's opacity on frames."""
    darkest: float = 0.35
    """Brightness of a tint on black, so that it is seen there too."""
    kept: float = 0.25
    """Share of a frame's own colour that stays under tints."""
    lit: float = 0.6
    """How much more of it stays where heat is positive and largest."""
    line_at: float = 0.4
    """Share of the limit past which a line is drawn round heat."""
    line: float = 0.9
    map: float = 0.62
    border: float = 0.75
    shade: float = 0.3
    """Brightness of what is not lit."""


PAINT = Paint()
NEGLIGIBLE = 1e-6
"""A summand below this, in units of the score, is rounding: scores are of the order of 0.1."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in brightness (BT.601)."""


@dataclass(frozen=True)
class Theme:
    """The ground on which a picture is drawn, as hexadecimal colours."""

    ground: str
    panel: str
    soft: str
    ink: str


THEMES = {
    "light": Theme(ground="#ffffff", panel="#f2f3f6", soft="#667085", ink="#1a1d23"),
    "dark": Theme(ground="#12141a", panel="#1e222b", soft="#98a1b1", ink="#eceef3"),
}


def concept_colour(concept: int) -> str:
    """The colour of a concept, the same in every picture; grey for -1, repeated past 32."""
    return NO_CONCEPT if concept < 0 else CONCEPT_COLOURS[concept % len(CONCEPT_COLOURS)]


def rgb(colour: str) -> np.ndarray:
    """``#rrggbb`` as (3,) float32 in 0..1."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def tint(values: np.ndarray | float, limit: float) -> np.ndarray:
    """Contributions of any shape as RGBA (..., 4) in 0..1: the one colour scale of all heat maps.

    Hue is the sign and opacity the size, equally on both sides, so zero is invisible on any ground.
    What lies beyond -limit..limit, which is positive, takes the end's colour.
    """
    strength = np.clip(np.asarray(values, dtype=np.float64) / limit, -1, 1)
    colour = np.where((strength >= 0)[..., None], rgb(POSITIVE), rgb(NEGATIVE))
    opacity = PAINT.strongest * np.abs(strength) ** PAINT.curve
    return np.concatenate([colour, opacity[..., None]], axis=-1).astype(np.float32)


def colour_limit(values: np.ndarray) -> float:
    """The largest size among ``values``; 1 where all are ``NEGLIGIBLE``, so that rounding stays neutral."""
    limit = float(np.abs(values).max(initial=0.0))
    return limit if limit > NEGLIGIBLE else 1.0


def blend(ground: np.ndarray, paint: np.ndarray) -> np.ndarray:
    """RGB (..., 3) with RGBA (..., 4) laid over it, both in 0..1."""
    opacity = paint[..., 3:]
    return ground * (1 - opacity) + paint[..., :3] * opacity


# --------------------------------------------------------------------------- sums of the score's parts
def word_parts(alignment: Alignment) -> np.ndarray:
    """(1+W,): what each word adds to the score; entry 0 is the whole sentence."""
    return alignment.all_terms().sum(axis=(0, 2, 3))


def frame_parts(alignment: Alignment) -> np.ndarray:
    """(T, 1+P): what each frame as a whole and each of its patches add to the score."""
    return alignment.all_terms().sum(axis=(0, 1))


# --------------------------------------------------------------------------- onto frames
def overlay(frame: np.ndarray, heat: np.ndarray, limit: float) -> np.ndarray:
    """A frame (H, W, 3) uint8 tinted by ``heat`` (rows, columns); returns (H, W, 3) uint8.

    The map is enlarged first and coloured after, so every pixel has a colour of the scale, and
    linearly, so no pixel exceeds the patches around it. Most of the frame's colour is taken out where nothing
    speaks for it; what does keeps its own ("red"), so a line in the colour of the sign runs round all that is
    past ``PAINT.line_at`` of the limit. A tint is as bright as what is under it: the frame keeps its own contrast.
    """
    height, width = frame.shape[:2]
    grid = Image.fromarray(heat.astype(np.float32))
    large = np.asarray(grid.resize((width, height), Image.Resampling.BILINEAR))
    paint = tint(large, limit)
    line = np.concatenate(
        [paint[..., :3], PAINT.line * _along(np.abs(large) / limit, PAINT.line_at)[..., None]], axis=-1
    )
    paint[..., 3] *= PAINT.on_frames
    own = PAINT.kept + PAINT.lit * np.clip(large / limit, 0, 1)
    return _bytes(blend(_tinted(frame, paint, own[..., None]), line))


def _along(values: np.ndarray, level: float) -> np.ndarray:
    """(H, W) in 0..1: how far each pixel lies on the line where values (H, W) pass ``level``."""
    slope = np.hypot(*(np.gradient(values, axis=axis) if values.shape[axis] > 1 else 0 * values for axis in (0, 1)))
    return np.clip(1.6 - np.abs(values - level) / np.maximum(slope, 1e-6), 0, 1)


def concept_overlay(frame: np.ndarray, allocation: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) uint8 with each patch in its concept's colour; returns (H, W, 3) uint8.

    allocation (rows, columns) holds concept numbers, -1 for none. Borders show where the concept changes.
    """
    large = _enlarged(allocation.astype(int), frame)
    paint = np.zeros((*large.shape, 4), dtype=np.float32)
    for concept in np.unique(large[large >= 0]):
        paint[large == concept] = [*rgb(concept_colour(int(concept))), PAINT.map]
    painted = _tinted(frame, paint)
    border = _borders(large)
    painted[border] = painted[border] * (1 - PAINT.border) + PAINT.border
    return _bytes(painted)


def spotlight(frame: np.ndarray, held: np.ndarray, colour: str) -> np.ndarray:
    """A frame (H, W, 3) uint8 in which only the patches ``held`` (rows, columns) bool are lit; their border
    is drawn in ``colour``."""
    lit = _enlarged(held, frame)
    colours = frame.astype(np.float32) / 255
    painted = np.where(lit[..., None], colours, PAINT.shade * colours)
    painted[_borders(lit)] = rgb(colour)
    return _bytes(painted)


def _enlarged(patches: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(rows, columns) as (H, W): pixel centres fall into patches as in ``overlay``; patches stay sharp."""
    height, width = frame.shape[:2]
    rows = np.arange(height) * patches.shape[0] // height
    columns = np.arange(width) * patches.shape[1] // width
    return patches[np.ix_(rows, columns)]


def _borders(large: np.ndarray) -> np.ndarray:
    """(H, W) bool: where ``large`` changes."""
    border = np.zeros(large.shape, dtype=bool)
    for shift in range(1, max(1, min(large.shape) // 160) + 1):
        border[shift:] |= large[shift:] != large[:-shift]
        border[:, shift:] |= large[:, shift:] != large[:, :-shift]
    return border


def _tinted(frame: np.ndarray, paint: np.ndarray, own: float | np.ndarray = PAINT.kept) -> np.ndarray:
    """The frame in 0..1, with the share ``own`` of its colour, under RGBA (H, W, 4) that is as bright as it."""
    colours = frame.astype(np.float32) / 255
    grey = (colours @ _LUMA)[..., None]
    brightness = PAINT.darkest + (1 - PAINT.darkest) * grey
    colours = grey + own * (colours - grey)
    return blend(colours, np.concatenate([paint[..., :3] * brightness, paint[..., 3:]], axis=-1))


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)
