"""Contributions painted onto frames, and the views of an ``Alignment`` that the pictures show.

Every view is a plain sum over the summands of the score, so what is painted is what was ranked.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vtr_demo.errors import BadScores
from vtr_demo.palette import blend, concept_colour, finite, rgb, tint
from vtr_demo.records import TERMS, Alignment

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
        raise BadScores(f"A heat map must be (rows, columns), got {numbers.shape}.")
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
        raise BadScores(f"An allocation must be (rows, columns), got {allocation.shape}.")
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
        raise BadScores(f"What is lit must be (rows, columns), got {held.shape}.")
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
        raise BadScores(f"A frame must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}.")
    return frame


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)
