"""A page to draw on, in inches from the top left corner. The only file that imports matplotlib.

No pyplot and no global state, so several threads may draw at once. The page grows downwards as
it is drawn on; labels are measured before they are placed, so none is clipped.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np

from vtr_demo.viz.overlays import THEMES, Theme, rgb

ThemeName = Literal["light", "dark"]
Align = Literal["left", "center", "right"]
_DPI = 160
# DejaVu Sans comes with matplotlib; the others serve further scripts where a system has them.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans",
    "Arial Unicode MS",
    "Symbola",
)
_MISSING = "\u25af"


class Sheet:
    """A page ``width`` inches wide that is as tall as what was drawn on it (``y`` is the cursor)."""

    def __init__(self, width: float, theme: ThemeName = "light", margin: float = 0.3) -> None:
        """An empty page; ``left`` and ``right`` are the inner edges."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        if theme not in THEMES:
            raise ValueError(f"theme must be one of {sorted(THEMES)}, got {theme!r}")
        self.theme: Theme = THEMES[theme]
        self.width, self.margin = width, margin
        self.left, self.right, self.y = margin, width - margin, margin
        self._figure = Figure(figsize=(width, 1), dpi=_DPI, facecolor=self.theme.ground)
        FigureCanvasAgg(self._figure)
        self._axes: Any = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()

    @property
    def inner(self) -> float:
        """The width between the margins."""
        return self.right - self.left

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: Any,
        *,
        alpha: float = 1.0,
        round_: float = 0.0,
    ) -> None:
        """A filled rectangle, its corners rounded by ``round_`` inches."""
        from matplotlib.patches import FancyBboxPatch, Rectangle

        if width <= 0 or height <= 0:
            return
        radius = min(round_, width / 2, height / 2)
        style: dict[str, Any] = {"facecolor": colour, "alpha": alpha, "linewidth": 0}
        if radius > 0:
            shape = f"round,pad=0,rounding_size={radius}"
            self._axes.add_artist(FancyBboxPatch((x, y), width, height, boxstyle=shape, **style))
        else:
            self._axes.add_artist(Rectangle((x, y), width, height, **style))

    def line(
        self, x: float, y: float, to_x: float, to_y: float, *, colour: str | None = None, width: float = 0.8
    ) -> None:
        """A straight line, ``width`` in points."""
        from matplotlib.lines import Line2D

        self._axes.add_artist(
            Line2D(
                [x, to_x], [y, to_y], color=colour or self.theme.line, linewidth=width, solid_capstyle="butt"
            )
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 9.0,
        *,
        colour: str | None = None,
        align: Align = "left",
        bold: bool = False,
        rotation: float = 0.0,
    ) -> None:
        """One line of text whose middle is at height ``y``; rotated text starts at (x, y)."""
        placed: dict[str, Any] = {"ha": align, "va": "center"}
        if rotation:
            placed = {"ha": "left", "va": "bottom", "rotation": rotation, "rotation_mode": "anchor"}
        self._axes.text(
            x,
            y,
            printable(text),
            fontsize=size,
            color=colour or self.theme.ink,
            fontfamily=list(_families()),
            fontweight="bold" if bold else "normal",
            parse_math=False,
            **placed,
        )

    def image(
        self, x: float, y: float, width: float, height: float, pixels: np.ndarray, *, smooth: bool = True
    ) -> None:
        """A picture (H, W, 3 or 4) uint8 stretched over a box; not ``smooth`` keeps its pixels sharp."""
        self._axes.imshow(
            pixels,
            extent=(x, x + width, y + height, y),
            aspect="auto",
            interpolation="lanczos" if smooth else "nearest",
            zorder=1.5,
        )

    def finish(self) -> np.ndarray:
        """The page as (H, W, 3) uint8, cut off a margin below the cursor."""
        height = self.y + self.margin
        self._figure.set_size_inches(self.width, height)
        self._axes.set_xlim(0, self.width)
        self._axes.set_ylim(height, 0)
        self._axes.set_aspect("auto")
        canvas: Any = self._figure.canvas
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def written(self) -> list[str]:
        """All texts on the page, in the order in which they were placed."""
        return [text.get_text() for text in self._axes.texts]


# --------------------------------------------------------------------------- text
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of a line of text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=list(_families()), size=size, weight="bold" if bold else "normal")
    return text_to_path.get_text_width_height_descent(printable(text), font, ismath=False)[0] / 72


def fitted(text: str, size: float, width: float, bold: bool = False) -> str:
    """``text``, shortened with an ellipsis where it is wider than ``width`` inches."""
    if text_width(text, size, bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + "…", size, bold) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def wrapped(text: str, size: float, width: float, lines: int, bold: bool = False) -> list[str]:
    """``text`` broken between words into at most ``lines`` lines of ``width`` inches."""
    broken: list[str] = []
    for word in text.split():
        if broken and text_width(f"{broken[-1]} {word}", size, bold) <= width:
            broken[-1] = f"{broken[-1]} {word}"
        else:
            broken.append(word)
    if len(broken) > lines:
        broken = [*broken[: lines - 1], " ".join(broken[lines - 1 :])]
    return [fitted(line, size, width, bold) for line in broken]


def printable(text: str) -> str:
    """``text`` on one line, with a box for every character that no font at hand can draw."""
    shown = (" " if character.isspace() else character for character in text)
    return "".join(character if _drawable(character) else _MISSING for character in shown)


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on ``colour`` (relative luminance, WCAG 2)."""
    channels = rgb(colour)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "#16181d" if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.25 else "#ffffff"


@lru_cache(maxsize=1)
def _families() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    return tuple(name for name in _FAMILIES if name in installed)


@lru_cache(maxsize=4096)
def _drawable(character: str) -> bool:
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    paths = (fontManager.findfont(FontProperties(family=[name])) for name in _families())
    return any(get_font(path).get_char_index(ord(character)) for path in paths)
