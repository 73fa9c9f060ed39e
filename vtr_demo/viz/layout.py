"""A matplotlib figure that grows downwards as it is drawn on, and text that fits on it.

Only ``Figure`` objects with the Agg canvas: no pyplot, no global state, so several threads may draw at once.
Sizes are in inches, font sizes in points.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from PIL import Image

from vtr_demo.viz import overlays
from vtr_demo.viz.overlays import THEMES, rgb

ThemeName = Literal["light", "dark"]
WIDTH, MARGIN, DPI = 10.0, 0.4, 160
INNER = WIDTH - 2 * MARGIN
SMALL, TEXT, HEADING = 7.5, 9.0, 11.0
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Arial Unicode MS", "Symbola")
"""DejaVu Sans comes with matplotlib; the others serve further scripts where a system has them."""


class Page:
    """A figure ``WIDTH`` inches wide; ``y`` is the cursor, in inches from the top."""

    def __init__(self, theme: ThemeName) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        colours = THEMES[theme]
        self.ground, self.panel, self.line = colours.ground, colours.panel, colours.line
        self.soft, self.ink = colours.soft, colours.ink
        self.figure: Any = Figure(figsize=(WIDTH, 1), dpi=DPI, facecolor=self.ground)
        self._canvas = FigureCanvasAgg(self.figure)
        self._place: list[Callable[[float], None]] = []
        self.y = MARGIN

    def axes(self, x: float, y: float, width: float, height: float, *, panel: bool = False) -> Any:
        """Add axes without ticks and frame, ``y`` below the cursor; ``panel`` fills them."""
        axes = self.figure.add_axes((0, 0, 1, 1), label=str(len(self._place)), frame_on=panel)
        axes.set(xticks=[], yticks=[], facecolor=self.panel)
        axes.spines[:].set_visible(False)
        axes.tick_params(which="both", length=0, labelsize=SMALL, labelcolor=self.soft)
        top = self.y + y
        self._place.append(
            lambda full: axes.set_position((x / WIDTH, 1 - (top + height) / full, width / WIDTH, height / full))
        )
        return axes

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        """Write at ``y`` below the cursor, vertically centred."""
        style = {"color": style.pop("colour", self.ink), "va": "center", "parse_math": False} | style
        artist = self.figure.text(x / WIDTH, 0, printable(text), fontsize=size, family=fonts(), **style)
        top = self.y + y
        self._place.append(lambda full: artist.set_y(1 - top / full))

    def heat(self, values: np.ndarray, limit: float) -> np.ndarray:
        """Contributions of any shape as RGB (..., 3) on this page's panels."""
        return overlays.blend(rgb(self.panel), overlays.tint(values, limit))

    def image(self, below: float = 0.0) -> Image.Image:
        """Draw the page, cut off ``below`` and a margin under the cursor."""
        full = self.y + below + MARGIN
        self.figure.set_size_inches(WIDTH, full)
        for place in self._place:
            place(full)
        self._canvas.draw()
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")


# --------------------------------------------------------------------------- numbers and text
def amount(value: float, scale: float) -> str:
    """Format a signed number with three significant digits at the size ``scale``."""
    digits = 3 if scale <= 0 else int(np.clip(2 - np.floor(np.log10(scale)), 0, 8))
    shown = f"{value:+.{digits}f}"
    return shown.replace("-", "−") if float(shown) else "0"


def time_label(seconds: float) -> str:
    """Format seconds as people read them: 1.5 -> "1.5 s", 75 -> "1:15"."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def spread(count: int, most: int) -> list[int]:
    """Indices of at most ``most`` of ``count`` frames, evenly spread."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()


def printable(text: str) -> str:
    """Return ``text`` with blanks for white space and a box for what no font at hand can draw."""
    known = _characters()
    return "".join(" " if c.isspace() else c if ord(c) in known else "▯" for c in text)


def short_name(concept: str) -> str:
    """Return a concept's name up to the semicolon, after which it says what the concept was seen to hold."""
    return concept.partition(";")[0]


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Measure a line of text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=fonts(), size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(printable(text), font, ismath=False)[0] / 72


def fitted(text: str, size: float, width: float, weight: str = "normal") -> str:
    """Shorten ``text`` with an ellipsis where it is wider than ``width`` inches."""
    if text_width(text, size, weight) <= width:
        return text
    ends = range(len(text), -1, -1)
    shorter = (text[:end].rstrip() + "…" for end in ends)
    return next((line for line in shorter if text_width(line, size, weight) <= width), "…")


def wrapped(text: str, size: float, width: float, count: int, weight: str = "normal") -> list[str]:
    """Break ``text`` between words into at most ``count`` lines of ``width`` inches."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    lines = [*lines[: count - 1], " ".join(lines[count - 1 :])] if len(lines) > count else lines
    return [fitted(line, size, width, weight) for line in lines]


def ink_on(colour: str) -> str:
    """Return black or white, whichever reads better on ``colour`` (relative luminance, WCAG 2)."""
    channels = rgb(colour)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "#16181d" if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.25 else "#ffffff"


@lru_cache(maxsize=1)
def fonts() -> list[str]:
    """Those of ``FONTS`` that are installed."""
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    return [name for name in FONTS if name in installed]


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset().union(*(get_font(findfont(name)).get_charmap() for name in fonts()))
