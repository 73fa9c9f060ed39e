"""Contributions as bars and chips: the five terms, the words, the timeline and the colour legend.

Each ``draw_...`` puts one chart at the cursor of a ``Sheet`` and moves the cursor below it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtr_demo.errors import ScoreError
from vtr_demo.viz.overlays import NEGATIVE, POSITIVE, TERM_COLOURS, blend, checked_range, finite, rgb, tint
from vtr_demo.viz.sheet import Align, Sheet, fitted, ink_on, text_width

SMALL, TEXT = 7.5, 9.0
"""Sizes of labels and of words, in points."""


def amount(value: float, scale: float) -> str:
    """A signed number with three significant digits at the size ``scale``."""
    digits = 3 if scale <= 0 else int(np.clip(2 - np.floor(np.log10(scale)), 0, 8))
    shown = f"{value:+.{digits}f}"
    return shown.replace("-", "\u2212") if float(shown) else shown[1:]


def time_label(seconds: float) -> str:
    """Seconds as people read them: 3.2 s, 1:05."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def on_panel(sheet: Sheet, paint: np.ndarray) -> np.ndarray:
    """RGBA (..., 4) laid on the panel of the sheet's theme: RGB (..., 3) in 0..1."""
    return blend(rgb(sheet.theme.panel), paint)


def require_shape(values: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse an array that does not fit its labels."""
    if values.shape != shape:
        raise ScoreError(f"Expected an array of {shape} for the labels given, got {values.shape}.")


# --------------------------------------------------------------------------- terms and words
def draw_terms(sheet: Sheet, terms: dict[str, float]) -> None:
    """The terms of a score as one stacked bar, negative ones to the left of zero, and as numbers."""
    finite(np.array([*terms.values()]))
    above = sum(value for value in terms.values() if value > 0)
    below = -sum(value for value in terms.values() if value < 0)
    unit = sheet.inner / (above + below) if above + below > 0 else 0.0
    zero = sheet.left + below * unit
    ends = {True: zero, False: zero}
    sheet.box(sheet.left, sheet.y, sheet.inner, 0.26, sheet.theme.panel, round_=0.04)
    for name, value in terms.items():
        width = abs(value) * unit
        x = ends[True] if value >= 0 else ends[False] - width
        ends[value >= 0] = x + width if value >= 0 else x
        sheet.box(x + 0.01, sheet.y, width - 0.02, 0.26, TERM_COLOURS[name], round_=0.04)
    if below > 0:
        sheet.line(zero, sheet.y - 0.06, zero, sheet.y + 0.32, colour=sheet.theme.ink, width=1.2)
    sheet.y += 0.44
    step, largest = sheet.inner / len(terms), max(map(abs, terms.values()))
    for index, (name, value) in enumerate(terms.items()):
        x = sheet.left + index * step
        sheet.box(x, sheet.y - 0.07, 0.14, 0.14, TERM_COLOURS[name], round_=0.03)
        sheet.text(x + 0.22, sheet.y, name, TEXT)
        sheet.text(x + 0.22, sheet.y + 0.19, amount(value, largest), TEXT, colour=sheet.theme.soft)
    sheet.y += 0.3


def draw_words(
    sheet: Sheet, words: Sequence[str], totals: np.ndarray, value_range: tuple[float, float]
) -> None:
    """The words as chips in reading order, each in the colour of what it adds (1+W,), and its number."""
    require_shape(totals, (len(words),))
    colours = on_panel(sheet, tint(totals, value_range))
    x, largest = sheet.left, max(abs(end) for end in value_range)
    for word, colour, total in zip(words, colours, totals.tolist(), strict=True):
        shown = fitted(word, 10.5, 2.6)
        number = amount(total, largest)
        width = max(text_width(shown, 10.5), text_width(number, 6.5)) + 0.22
        if x + width > sheet.right and x > sheet.left:
            x, sheet.y = sheet.left, sheet.y + 0.56
        fill = "#" + "".join(f"{round(255 * float(channel)):02x}" for channel in colour)
        sheet.box(x, sheet.y, width, 0.3, fill, round_=0.08)
        sheet.text(x + width / 2, sheet.y + 0.15, shown, 10.5, colour=ink_on(fill), align="center")
        sheet.text(x + width / 2, sheet.y + 0.39, number, 6.5, colour=sheet.theme.soft, align="center")
        x += width + 0.08
    sheet.y += 0.52


# --------------------------------------------------------------------------- time and legend
def draw_timeline(
    sheet: Sheet,
    values: np.ndarray,
    seconds: Sequence[float],
    duration_s: float,
    value_range: tuple[float, float],
    *,
    frames: np.ndarray | None = None,
) -> None:
    """What each moment of time adds: values (T,) at ``seconds`` along 0..duration_s."""
    require_shape(values, (len(seconds),))
    low, high = checked_range(value_range)
    length = max(duration_s, *seconds, 1e-6)
    edges = _time_edges(seconds, length)
    scale, height = sheet.inner / length, 0.6
    if frames is not None:
        _film(sheet, frames, seconds, length)
    top, unit = sheet.y, height / (high - low)
    zero = top + high * unit
    sheet.box(sheet.left, top, sheet.inner, height, sheet.theme.panel, round_=0.05)
    for value, start, end in zip(np.clip(finite(values), low, high), edges[:-1], edges[1:], strict=True):
        bar = abs(float(value)) * unit
        colour = POSITIVE if value >= 0 else NEGATIVE
        x, width = sheet.left + start * scale, (end - start) * scale
        sheet.box(x, zero - bar if value >= 0 else zero, max(width - 0.02, 0.005), bar, colour)
    sheet.line(sheet.left, zero, sheet.right, zero, colour=sheet.theme.soft, width=0.6)
    sheet.y += height + 0.14
    for tick in _ticks(length):
        align: Align = "left" if tick == 0 else "right" if tick > 0.97 * length else "center"
        label = time_label(tick)
        sheet.text(sheet.left + tick * scale, sheet.y, label, SMALL, colour=sheet.theme.soft, align=align)
    sheet.y += 0.12


def draw_legend(sheet: Sheet, value_range: tuple[float, float], width: float = 3.2) -> None:
    """The colour scale with its two ends and zero, to three digits."""
    low, high = checked_range(value_range)
    values = np.linspace(low, high, 256)
    stripe = (on_panel(sheet, tint(values, value_range))[None] * 255).round().astype(np.uint8)
    x, height = sheet.left, 0.15
    sheet.image(x, sheet.y, width, height, np.repeat(stripe, 2, axis=0))
    zero = x - low / (high - low) * width
    sheet.line(zero, sheet.y - 0.03, zero, sheet.y + height + 0.03, colour=sheet.theme.soft)
    sheet.y += height + 0.14
    if low < 0:
        sheet.text(x, sheet.y, amount(low, max(-low, high)), SMALL, colour=sheet.theme.soft)
    if x + 0.35 < zero < x + width - 0.35 or low == 0 or high == 0:
        align: Align = "left" if low == 0 else "right" if high == 0 else "center"
        sheet.text(zero, sheet.y, "0", SMALL, colour=sheet.theme.soft, align=align)
    if high > 0:
        sheet.text(
            x + width, sheet.y, amount(high, max(-low, high)), SMALL, colour=sheet.theme.soft, align="right"
        )
    sheet.text(x + width + 0.2, sheet.y - 0.21, "contribution to the score", SMALL, colour=sheet.theme.soft)
    sheet.y += 0.1


# --------------------------------------------------------------------------- parts of a timeline
def _time_edges(seconds: Sequence[float], length: float) -> list[float]:
    """The borders between neighbouring frames, half way; the outer ones as far from their frame."""
    times = np.asarray(seconds, dtype=float)
    if len(times) == 1:
        return [0.0, length]
    middles = (times[1:] + times[:-1]) / 2
    first, last = 2 * times[0] - middles[0], 2 * times[-1] - middles[-1]
    return [max(0.0, float(first)), *middles.tolist(), min(length, float(last))]


def _ticks(length: float) -> list[float]:
    """Round times from 0 up, nine at most."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
    step = next((step for step in steps if length / step <= 8), length / 8)
    return [index * step for index in range(int(length / step + 1e-6) + 1)]


def _film(sheet: Sheet, frames: np.ndarray, seconds: Sequence[float], length: float) -> None:
    """As many frames as fit side by side, each the nearest to the time below its middle."""
    height = 0.62
    count = max(1, int(sheet.inner / (height * frames.shape[2] / frames.shape[1])))
    width = sheet.inner / count
    times = np.asarray(seconds, dtype=float)
    for index in range(count):
        nearest = int(np.abs(times - (index + 0.5) / count * length).argmin())
        sheet.image(sheet.left + index * width, sheet.y, width - 0.02, height, frames[nearest])
    sheet.y += height + 0.06
