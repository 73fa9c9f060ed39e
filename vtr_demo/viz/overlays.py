"""Contributions painted onto frames, and the views of an ``Alignment`` that the pictures show.

Every view is a plain sum over the summands of the score, so what is painted is what was ranked.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vtr_demo.errors import ScoreError
from vtr_demo.structures import TERMS, Alignment

# --------------------------------------------------------------------------- every colour of the picture
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
        raise ScoreError(f"A colour range must be finite, enclose zero and have a width, got {value_range}.")
    return low, high


def finite(values: np.ndarray | float) -> np.ndarray:
    """``values`` as float64, refused where any is NaN or infinite: a picture would hide it."""
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ScoreError("Contributions to be drawn hold NaN or infinite numbers; check the model's weights.")
    return numbers


NEGLIGIBLE = 1e-6
"""A summand below this, in units of the score, is rounding: scores are of the order of 0.1."""
_SATURATION = 0.3
"""Share of a frame's own colour that stays under an overlay, so that hue tells the contribution."""
_SHADE = 0.3
"""Brightness of what is not lit."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


# --------------------------------------------------------------------------- views of the summands
def contributions(
    alignment: Alignment, words: Collection[int] | None = None, terms: Sequence[str] = TERMS
) -> np.ndarray:
    """(1+W, T, 1+P): the summands of the chosen ``terms``, zero for words that are not chosen.

    Word 0 is the whole sentence and patch 0 the whole frame; ``words`` None takes all.
    """
    unknown = set(terms) - set(TERMS)
    if unknown:
        raise ValueError(f"unknown terms {sorted(unknown)}; known: {', '.join(TERMS)}")
    summed = finite(alignment.all_terms()[[TERMS.index(name) for name in terms]].sum(axis=0))
    if words is not None:
        left_out = [index for index in range(len(summed)) if index not in set(words)]
        summed[left_out] = 0.0
    return summed


def patch_heat(
    alignment: Alignment, words: Collection[int] | None = None, terms: Sequence[str] = TERMS
) -> np.ndarray:
    """(T, rows, columns): what each patch of picture adds to the score."""
    summed = contributions(alignment, words, terms).sum(axis=0)
    return summed[:, 1:].reshape(len(summed), *alignment.grid)


def whole_frame_heat(
    alignment: Alignment, words: Collection[int] | None = None, terms: Sequence[str] = TERMS
) -> np.ndarray:
    """(T,): what each frame's summary token adds, which lies nowhere in the picture."""
    return contributions(alignment, words, terms).sum(axis=0)[:, 0]


def word_frame_heat(alignment: Alignment, terms: Sequence[str] = TERMS) -> np.ndarray:
    """(1+W, T): what each word and frame add together."""
    return contributions(alignment, terms=terms).sum(axis=2)


def shared_range(maps: Iterable[np.ndarray]) -> tuple[float, float]:
    """The range of several maps together with zero, so that equal values get equal colours in all.

    Maps without a value above ``NEGLIGIBLE`` get (-1, 1): they are drawn neutral, since what is left
    of a term that is switched off is rounding, not evidence.
    """
    arrays = [finite(values).ravel() for values in maps]
    joined = np.concatenate([np.zeros(1), *arrays])
    low, high = float(joined.min()), float(joined.max())
    return (low, high) if max(-low, high) > NEGLIGIBLE else (-1.0, 1.0)


# --------------------------------------------------------------------------- onto frames
def overlay(frame: np.ndarray, heat: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """A frame (H, W, 3) uint8 tinted by ``heat`` (rows, columns); returns (H, W, 3) uint8.

    The map is enlarged first and coloured after, so every pixel has a colour of the scale, and
    linearly, so no pixel exceeds the patches around it. The frame is muted, and a patch that adds
    nothing leaves it at that. Equal values get equal tints in every frame of one ``value_range``.
    """
    numbers = finite(heat)
    if numbers.ndim != 2:
        raise ScoreError(f"A heat map must be (rows, columns), got {numbers.shape}.")
    height, width = _checked_frame(frame).shape[:2]
    grid = Image.fromarray(numbers.astype(np.float32))
    large = np.asarray(grid.resize((width, height), Image.Resampling.BILINEAR))
    return _bytes(blend(_muted(frame), tint(large, value_range)))


def concept_overlay(
    frame: np.ndarray, allocation: np.ndarray, highlighted: Collection[int] | None = None
) -> np.ndarray:
    """A frame (H, W, 3) uint8 with each patch in its concept's colour; returns (H, W, 3) uint8.

    allocation (rows, columns) holds concept numbers, -1 for none. Only ``highlighted`` concepts are
    painted where given. Borders are drawn where the concept changes.
    """
    if allocation.ndim != 2:
        raise ScoreError(f"An allocation must be (rows, columns), got {allocation.shape}.")
    shown = allocation.astype(int)
    if highlighted is not None:
        shown = np.where(np.isin(shown, list(highlighted)), shown, -1)
    large = _enlarged(shown, _checked_frame(frame))
    paint = np.zeros((*large.shape, 4), dtype=np.float32)
    for concept in np.unique(large[large >= 0]):
        paint[large == concept] = [*rgb(concept_colour(int(concept))), 0.5]
    painted = blend(_muted(frame), paint)
    border = _borders(large)
    painted[border] = painted[border] * 0.25 + 0.75
    return _bytes(painted)


def spotlight(frame: np.ndarray, held: np.ndarray, colour: str) -> np.ndarray:
    """A frame (H, W, 3) uint8 in which only the patches ``held`` (rows, columns) bool are lit; their border
    is drawn in ``colour``."""
    if held.ndim != 2:
        raise ScoreError(f"What is lit must be (rows, columns), got {held.shape}.")
    lit = _enlarged(held, _checked_frame(frame))
    painted = np.where(lit[..., None], frame.astype(np.float32) / 255, _SHADE * _muted(frame))
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


def poster_strip(frames: np.ndarray, seconds: Sequence[float] | None = None, height: int = 120) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 side by side, ``height`` pixels high, with their times where given."""
    width = max(1, round(frames.shape[2] * height / frames.shape[1]))
    gap = max(1, height // 40)
    strip = Image.new("RGBA", (len(frames) * (width + gap) - gap, height), (0, 0, 0, 0))
    for index, pixels in enumerate(frames):
        picture = Image.fromarray(_checked_frame(pixels)).resize((width, height), Image.Resampling.LANCZOS)
        if seconds is not None:
            _stamp(picture, f"{seconds[index]:.1f} s")
        strip.paste(picture, (index * (width + gap), 0))
    return np.asarray(strip)


def to_png(image: np.ndarray) -> bytes:
    """An RGB or RGBA picture, uint8, as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def to_jpeg(image: np.ndarray, quality: int = 84) -> bytes:
    """An RGB picture, uint8, as a JPEG file: a tenth of the PNG, for pages that send many frames."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _stamp(picture: Image.Image, text: str) -> None:
    """White text on a dark chip in the lower left corner."""
    size = max(9, picture.height // 9)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(picture, "RGBA")
    pad, bottom = size // 3, picture.height - size // 3
    left, top, right, low = draw.textbbox((2 * pad, bottom - pad), text, font=font, anchor="lb")
    draw.rounded_rectangle((left - pad, top - pad, right + pad, low + pad), pad, fill=(10, 12, 16, 170))
    draw.text((2 * pad, bottom - pad), text, font=font, anchor="lb", fill=(255, 255, 255, 255))


def _muted(frame: np.ndarray) -> np.ndarray:
    """The frame in 0..1 with most of its colour taken out."""
    colours = frame.astype(np.float32) / 255
    grey = (colours @ _LUMA)[..., None]
    return grey + _SATURATION * (colours - grey)


def _checked_frame(frame: np.ndarray) -> np.ndarray:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ScoreError(f"A frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}.")
    return frame


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)


def word_parts(alignment: Alignment) -> np.ndarray:
    """(1+W,): what each word adds to the score; entry 0 is the whole sentence."""
    return alignment.all_terms().sum(axis=(0, 2, 3))


def picked(alignment: Alignment, pick: str) -> np.ndarray:
    """(T, 1+P): the summands that ``pick`` names; an unknown pick shows the total."""
    kind, _, name = pick.partition(":")
    terms = alignment.all_terms()
    if kind == "term" and name in TERMS:
        return terms[TERMS.index(name)].sum(axis=0)
    if kind == "word" and name.isdigit() and int(name) < len(alignment.words):
        return terms[:, int(name)].sum(axis=0)
    if kind == "concept" and name.isdigit() and int(name) < alignment.concept_count:
        return alignment.concept_terms[alignment.word_concept == int(name)].sum(axis=0)
    return terms.sum(axis=(0, 1))


def patch_limit(alignment: Alignment) -> float:
    """The largest patch part of the total and of any term: one colour range for all picks."""
    terms = alignment.all_terms()[..., 1:].sum(axis=1)
    return float(max(np.abs(terms).max(), np.abs(terms.sum(axis=0)).max(), 1e-9))
