"""Every colour of the pictures and of the page, and the one scale that turns a contribution into one.

Chosen in OKLab so that neighbours stay apart for the three common kinds of colour blindness
(simulated after Machado et al. 2009) and on a light and a dark ground; nothing is told by colour
alone, concepts also carry their number and signed bars their side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtr_demo.errors import BadScores

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
    *("#3f83d8", "#ef8e3b", "#37d8c9", "#b34276", "#687c02", "#b49cf7", "#70a488", "#c4c18c"),
    *("#987ba5", "#b46957", "#9350af", "#d38cb5", "#b88513", "#ef7276", "#ebb427", "#94bae1"),
    *("#7c8cf5", "#5aa8d4", "#5965ca", "#7e6690", "#b065c1", "#dfa4a7", "#9cd15f", "#95925f"),
    *("#c56384", "#cba77d", "#298646", "#7eb13d", "#b681b9", "#b7b5fc", "#41c092", "#5a8563"),
)
"""The colour of each concept by its number; found greedily, so the first ones are the most distinct."""
NO_CONCEPT = "#8b919c"

_STRONGEST = 0.82
"""Opacity at the end of the scale: a trace of the picture stays visible."""
_CURVE = 0.8
"""Opacity grows as strength ** 0.8, so that half the range is seen as half (by eye, on both grounds)."""


@dataclass(frozen=True)
class Theme:
    """The ground on which a picture is drawn, as hexadecimal colours."""

    ground: str
    panel: str
    line: str
    soft: str
    ink: str


THEMES = {
    "light": Theme(ground="#ffffff", panel="#f2f3f6", line="#d9dde4", soft="#667085", ink="#1a1d23"),
    "dark": Theme(ground="#12141a", panel="#1e222b", line="#343a46", soft="#98a1b1", ink="#eceef3"),
}


def concept_colour(concept: int) -> str:
    """The colour of a concept, the same in every picture; grey for -1, repeated past 32."""
    return NO_CONCEPT if concept < 0 else CONCEPT_COLOURS[concept % len(CONCEPT_COLOURS)]


def rgb(colour: str) -> np.ndarray:
    """``#rrggbb`` as (3,) float32 in 0..1."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def tint(values: np.ndarray | float, value_range: tuple[float, float]) -> np.ndarray:
    """Contributions of any shape as RGBA (..., 4) in 0..1: the one colour scale of all heat maps.

    Hue is the sign and opacity the size, equally on both sides, so zero is invisible on any ground.
    value_range (lowest, highest) must enclose zero; what lies beyond it takes the end's colour.
    """
    low, high = checked_range(value_range)
    numbers = finite(values)
    strength = np.clip(numbers, low, high) / max(-low, high)
    colour = np.where((strength >= 0)[..., None], rgb(POSITIVE), rgb(NEGATIVE))
    opacity = _STRONGEST * np.abs(strength) ** _CURVE
    return np.concatenate([colour, opacity[..., None]], axis=-1).astype(np.float32)


def blend(ground: np.ndarray, paint: np.ndarray) -> np.ndarray:
    """RGB (..., 3) with RGBA (..., 4) laid over it, both in 0..1."""
    opacity = paint[..., 3:]
    return ground * (1 - opacity) + paint[..., :3] * opacity


def checked_range(value_range: tuple[float, float]) -> tuple[float, float]:
    """``value_range`` as two floats, if it is finite, has a width and encloses zero."""
    low, high = float(value_range[0]), float(value_range[1])
    if not (np.isfinite([low, high]).all() and low <= 0 <= high and low < high):
        raise BadScores(f"A colour range must be finite, enclose zero and have a width, got {value_range}.")
    return low, high


def finite(values: np.ndarray | float) -> np.ndarray:
    """``values`` as float64, refused where any is NaN or infinite: a picture would hide it."""
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise BadScores("Contributions to be drawn hold NaN or infinite numbers; check the model's weights.")
    return numbers
