"""One explanation as pictures and as JSON.

Pictures are matplotlib ``Figure`` objects with the Agg canvas: no pyplot, no global state, so several threads
may draw at once. Sizes are in inches, font sizes in points.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from vtr_demo.results import Explanation, Hit
from vtr_demo.structures import TERMS, Alignment
from vtr_demo.viz import overlays
from vtr_demo.viz.overlays import NEGATIVE, POSITIVE, TERM_COLOURS, THEMES, concept_colour, finite, rgb

ThemeName = Literal["light", "dark"]
WIDTH, MARGIN, DPI = 10.0, 0.4, 160
INNER = WIDTH - 2 * MARGIN
SMALL, TEXT, HEADING = 7.5, 9.0, 11.0
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Arial Unicode MS", "Symbola")
"""DejaVu Sans comes with matplotlib; the others serve further scripts where a system has them."""


# --------------------------------------------------------------------------- a page and its text
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


DOCUMENT = "explanation.json"
LABELS, SUMS, ROW = 1.9, 1.3, 0.27
"""Width of the labels left of a grid, width of the sums right of it, height of its rows."""
COLUMNS = INNER - LABELS - SUMS
MAX_FRAMES, PER_ROW = 24, 6
NOTE = (
    "The parts add up to the score. They are attributed to the tokens that the towers hand over; "
    "within a tower, neighbouring words and patches have already seen each other."
)


# --------------------------------------------------------------------------- files
def export(out: Path, why: Explanation, hit: Hit) -> dict[str, Any]:
    """Write ``why`` as PNG files and ``explanation.json`` into ``out``; return the JSON, which lists them.

    ``parts`` holds (1+W, T) numbers for each term, rows as in ``words`` (the whole sentence first) and
    columns as in ``frames``; each adds up to its entry in ``terms``, and these to ``score``.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = {
        "explanation.png": explanation_figure(why, hit.name),
        "explanation_dark.png": explanation_figure(why, hit.name, theme="dark"),
        "words.png": word_frame_figure(why.alignment, why.frames),
    }
    for name, picture in pictures.items():
        picture.save(out / name, compress_level=6)
    parts = zip(TERMS, why.alignment.all_terms().sum(axis=3).tolist(), strict=True)
    answer = match_json(why, hit.name) | {
        "text": why.sentence.text,
        "path": hit.path,
        "start_s": hit.start_s,
        "end_s": hit.end_s,
        "moment": why.moment,
        "confidence": hit.confidence,
        "parts": dict(parts),
        "tags": {level: dict(tags) for level, tags in why.video_tags.items()},
        "pictures": list(pictures),
    }
    (out / DOCUMENT).write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return answer


def match_json(why: Explanation, clip_name: str) -> dict[str, Any]:
    """Return an explanation as plain JSON values; ``adds`` of the words and of the frames each sum to the
    score."""
    alignment = why.alignment
    by_word = overlays.word_parts(alignment)
    by_frame = overlays.picked(alignment, "total").sum(axis=1)
    words = [
        {"word": word, "adds": float(by_word[i]), "concept": why.concept_names[concept] if concept >= 0 else None}
        | ({"without_it": -float(why.word_effects[i - 1])} if 0 < i <= len(why.word_effects) else {})
        for i, (word, concept) in enumerate(zip(alignment.words, alignment.word_concept, strict=True))
    ]
    frames = [
        {"second": float(second), "adds": float(value)}
        for second, value in zip(alignment.seconds, by_frame, strict=True)
    ]
    return {
        "id": why.clip_id,
        "name": clip_name,
        "score": float(alignment.score),
        "terms": alignment.terms(),
        "gates": {level: float(gate) for level, gate in why.gates.items()},
        "words": words,
        "frames": frames,
        "concepts": dict(zip(why.concept_names, map(float, alignment.by_concept()), strict=True)),
    }


# --------------------------------------------------------------------------- figures
def explanation_figure(why: Explanation, clip: str = "", *, theme: ThemeName = "light") -> Image.Image:
    """Draw why a sentence and a clip match: score, five parts, words by frames, heat on frames, concepts.

    ``clip`` is what to call the clip. Raises ``ScoreError`` where a summand is not finite.
    """
    page = Page(theme)
    alignment, names = why.alignment, why.concept_names
    _head(page, alignment, why.sentence.text, clip)
    _terms(page, alignment.terms())
    _heading(page, "Words and frames", "what each word and frame add together; sums at the side and below")
    _word_frames(page, alignment, why.frames)
    _heat(page, alignment, why.frames)
    _heading(page, "Concepts in the sentence", "the concept of each word, and what it adds through it")
    _concept_words(page, alignment, names)
    _heading(page, "Concepts in the picture", "the share of each frame's patches that a concept holds")
    _concept_frames(page, alignment, why.frames, names)
    for i, line in enumerate(wrapped(NOTE, SMALL, INNER, 2)):
        page.text(MARGIN, 0.1 + 0.16 * i, line, SMALL, colour=page.soft)
    return page.image(0.2)


def word_frame_figure(alignment: Alignment, frames: np.ndarray, *, theme: ThemeName = "light") -> Image.Image:
    """Draw words by frames, frames (T, S, S, 3) uint8 on top, sums of rows and columns at the sides."""
    page = Page(theme)
    _word_frames(page, alignment, frames)
    return page.image()


# --------------------------------------------------------------------------- sections of a page
def _head(page: Page, alignment: Alignment, sentence: str, clip: str) -> None:
    count, seconds = len(alignment.seconds), alignment.seconds
    first, last = time_label(float(seconds.min())), time_label(float(seconds.max()))
    where = f"{count} frames from {first} to {last}" if count > 1 else f"one frame at {first}"
    page.text(WIDTH - MARGIN, 0.16, f"{alignment.score:.3f}", 22, ha="right", weight="bold")
    page.text(WIDTH - MARGIN, 0.46, "score", TEXT, colour=page.soft, ha="right")
    lines = wrapped(f"“{sentence}”", 15, INNER - 1.5, 3, "bold")
    for i, line in enumerate(lines):
        page.text(MARGIN, 0.14 + 0.3 * i, line, 15, weight="bold")
    about = fitted(f"{clip}  ·  {where}" if clip else where, TEXT, INNER - 1.5)
    page.text(MARGIN, 0.18 + 0.3 * len(lines), about, TEXT, colour=page.soft)
    page.y += 0.36 + 0.3 * max(1, len(lines))


def _heading(page: Page, title: str, about: str) -> None:
    page.text(MARGIN, 0.38, title, HEADING, weight="bold")
    page.text(MARGIN, 0.58, about, SMALL, colour=page.soft)
    page.y += 0.75


def _terms(page: Page, terms: dict[str, float]) -> None:
    """The five terms as one stacked bar, negative ones left of zero, and as numbers."""
    finite(np.array([*terms.values()]))
    bar = page.axes(MARGIN, 0.12, INNER, 0.26, panel=True)
    right = left = 0.0
    for name, value in terms.items():
        bar.barh(0, value, left=right if value >= 0 else left, height=1, color=TERM_COLOURS[name],
                 edgecolor=page.panel, linewidth=1.5)  # fmt: skip
        right, left = (right + value, left) if value >= 0 else (right, left + value)
    bar.set(xlim=(left, right if right > left else 1), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    if left < 0:
        bar.axvline(0, ymin=-0.25, ymax=1.25, color=page.ink, linewidth=1.2, clip_on=False)
    limit = max(map(abs, terms.values()))
    for i, (name, value) in enumerate(terms.items()):
        x = MARGIN + i * INNER / len(terms)
        page.axes(x, 0.52, 0.14, 0.14).set(facecolor=TERM_COLOURS[name], frame_on=True)
        page.text(x + 0.22, 0.59, name, TEXT)
        page.text(x + 0.22, 0.78, amount(value, limit), TEXT, colour=page.soft)
    page.y += 0.9


def _word_frames(page: Page, alignment: Alignment, frames: np.ndarray) -> None:
    """Words by frames with the sums of both, thumbnails on top, the colour scale below."""
    heat = finite(alignment.all_terms().sum(axis=(0, 3)))
    count, limit = heat.shape[1], overlays.colour_limit(heat)
    width = min(COLUMNS, 0.75 * count)
    page.y += _thumbnails(page, frames, width) + 0.05
    _matrix(page, page.heat(heat, limit), alignment.words, width)
    _sums(page, width, heat.sum(axis=1))
    page.y += ROW * len(heat) + 0.08
    by_frame = heat.sum(axis=0)
    below = page.axes(MARGIN + LABELS, 0.0, width, 0.38)
    below.bar(range(count), by_frame, 0.9, color=[POSITIVE if v >= 0 else NEGATIVE for v in by_frame])
    below.axhline(0, color=page.line, linewidth=0.8)
    below.set_xlim(-0.5, count - 0.5)
    page.text(MARGIN + LABELS - 0.07, 0.19, "all words", SMALL, colour=page.soft, ha="right")
    page.y += 0.38
    _times(page, below, alignment.seconds, width)
    _scale(page, limit)


def _heat(page: Page, alignment: Alignment, frames: np.ndarray) -> None:
    """Every frame, at most ``MAX_FRAMES``, under its heat map, with what its patches and its summary add."""
    total = finite(overlays.picked(alignment, "total"))
    heat, whole = total[:, 1:], total[:, 0]
    limit, largest = overlays.colour_limit(heat), float(np.abs([*heat.sum(axis=1), *whole]).max())
    shown = spread(len(frames), MAX_FRAMES)
    some = f" ({len(shown)} of {len(frames)} frames)" if len(shown) < len(frames) else ""
    about = f"where in each frame{some}; what a frame's summary token adds lies nowhere in the picture"
    _heading(page, "Heat on frames", about)
    columns = max(4, -(-len(shown) // -(-len(shown) // PER_ROW)))
    side = (INNER - 0.1 * (columns - 1)) / columns
    height = side * frames.shape[1] / frames.shape[2]
    for place, index in enumerate(shown):
        x = MARGIN + place % columns * (side + 0.1)
        painted = overlays.overlay(frames[index], heat[index].reshape(alignment.grid), limit)
        page.axes(x, 0.0, side, height).imshow(painted, aspect="auto")
        page.text(x, height + 0.1, time_label(float(alignment.seconds[index])), SMALL, weight="bold")
        numbers = (f"patches {amount(heat[index].sum(), largest)}", f"whole frame {amount(whole[index], largest)}")
        for i, number in enumerate(numbers):
            page.text(x + side, height + 0.1 + 0.14 * i, number, SMALL, colour=page.soft, ha="right")
        if place % columns == columns - 1 or place == len(shown) - 1:
            page.y += height + 0.4
    _scale(page, limit)


def _concept_words(page: Page, alignment: Alignment, names: Sequence[str]) -> None:
    """The Discrete Concept Allocation Matrix of the sentence (S2CA): words by concepts."""
    count, words = alignment.concept_count, alignment.words
    width = min(COLUMNS, 0.36 * count)
    shown = [fitted(short_name(name), SMALL, 1.6) for name in names[:count]]
    page.y += max((text_width(name, SMALL) for name in shown), default=0.0) * 0.72 + 0.05
    colours = np.array([[rgb(concept_colour(k)) for k in range(count)]])
    head = page.axes(MARGIN + LABELS, 0.0, width, 0.2)
    head.imshow(colours, aspect="auto")
    _gaps(page, head, colours)
    style = {"family": fonts(), "parse_math": False}
    for k, name in enumerate(shown):
        number = {"fontsize": min(SMALL, 60 * width / count), "color": ink_on(concept_colour(k))}
        head.text(k, 0, str(k + 1), ha="center", va="center", weight="bold", **number)
        slanted = {"rotation": 45, "rotation_mode": "anchor", "ha": "left", "va": "bottom"}
        head.text(k - 0.1, -0.65, printable(name), fontsize=SMALL, color=page.ink, **slanted, **style)
    page.y += 0.24
    held = alignment.word_concept[:, None] == np.arange(count)
    _matrix(page, np.where(held[..., None], colours, rgb(page.panel)), words, width)
    strength = finite(alignment.concept_terms.sum(axis=(1, 2)))
    _sums(page, width, strength, [concept_colour(int(k)) for k in alignment.word_concept])
    page.y += ROW * len(words)


def _concept_frames(page: Page, alignment: Alignment, frames: np.ndarray, names: Sequence[str]) -> None:
    """Frames with their patches in the concepts' colours, and the share of each concept in each frame."""
    patches = alignment.patch_concept[:, 1:]
    side = (INNER - 0.1 * (PER_ROW - 1)) / PER_ROW
    height = side * frames.shape[1] / frames.shape[2]
    for column, index in enumerate(spread(len(frames), PER_ROW)):
        painted = overlays.concept_overlay(frames[index], patches[index].reshape(alignment.grid))
        page.axes(MARGIN + column * (side + 0.1), 0.0, side, height).imshow(painted, aspect="auto")
    page.y += height + 0.15
    share, concepts = overlays.concept_shares(patches)
    if not concepts:
        return
    width = min(COLUMNS, 0.75 * len(frames))
    colours = np.array([rgb(concept_colour(k)) for k in concepts])[:, None]
    strength = (share / share.max())[..., None]
    labels = [f"{short_name(names[k])}  {k + 1}" for k in concepts]
    grid = _matrix(page, rgb(page.panel) * (1 - strength) + colours * strength, labels, width)
    for row, k in enumerate(concepts):
        middle, x = ROW * (row + 0.5), MARGIN + LABELS + width + 0.12
        page.axes(x, middle - 0.05, 0.1, 0.1).set(facecolor=concept_colour(k), frame_on=True)
        page.text(x + 0.17, middle, f"{share[row].mean():.0%}", SMALL, colour=page.soft)
    page.y += ROW * len(concepts)
    _times(page, grid, alignment.seconds, width)


# --------------------------------------------------------------------------- parts of a grid
def _matrix(page: Page, cells: np.ndarray, rows: Sequence[str], width: float) -> Any:
    """Coloured cells (R, C, 3) with the names of their rows, at the cursor."""
    axes = page.axes(MARGIN + LABELS, 0.0, width, ROW * len(rows))
    axes.imshow(cells, aspect="auto")
    _gaps(page, axes, cells)
    for row, name in enumerate(rows):
        page.text(MARGIN + LABELS - 0.07, ROW * (row + 0.5), fitted(name, TEXT, LABELS - 0.1), TEXT, ha="right")
    return axes


def _gaps(page: Page, axes: Any, cells: np.ndarray) -> None:
    """White lines between cells, unless these are narrow."""
    rows, columns = cells.shape[:2]
    if columns <= 48:
        axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
        axes.grid(which="minor", color=page.ground, linewidth=1.6)


def _thumbnails(page: Page, frames: np.ndarray, width: float) -> float:
    """The frame of each column above it, or of every few columns where they are narrow; the height."""
    cell = width / len(frames)
    every = max(1, int(np.ceil(0.42 / cell)))
    height = 0.94 * cell * every * frames.shape[1] / frames.shape[2]
    film = page.axes(MARGIN + LABELS, 0.0, width, height)
    for column in range(0, len(frames), every):
        part = min(every, len(frames) - column) / every
        pixels = frames[column][:, : max(1, round(frames.shape[2] * part))]
        film.imshow(pixels, extent=(column, column + 0.94 * every * part, 0, 1), aspect="auto")
    film.set(xlim=(0, len(frames)), ylim=(0, 1))
    return height


def _times(page: Page, axes: Any, seconds: np.ndarray, width: float) -> None:
    shown = range(0, len(seconds), max(1, int(np.ceil(0.5 * len(seconds) / width))))
    axes.set_xticks([*shown], [time_label(float(seconds[i])) for i in shown], fontsize=SMALL, color=page.soft)
    page.y += 0.35


def _sums(page: Page, width: float, values: np.ndarray, colours: Sequence[str] | None = None) -> None:
    """A bar and a number for each row, beside the grid of this ``width`` at the cursor."""
    x = MARGIN + LABELS + width + 0.12
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    axes = page.axes(x, 0.0, 0.52, ROW * len(values))
    fills = colours or [POSITIVE if value >= 0 else NEGATIVE for value in values]
    axes.barh(range(len(values)), values, 0.45, color=fills)
    axes.axvline(0, color=page.line, linewidth=0.8)
    axes.set(xlim=(low, high) if high > low else (0, 1), ylim=(len(values) - 0.5, -0.5))
    for row, value in enumerate(values):
        label = amount(float(value), max(-low, high))
        page.text(x + SUMS - 0.12, ROW * (row + 0.5), label, SMALL, colour=page.soft, ha="right")


def _scale(page: Page, limit: float) -> None:
    """The legend of the one colour scale."""
    axes = page.axes(MARGIN, 0.0, 3.2, 0.13)
    axes.imshow(page.heat(np.linspace(-1, 1, 255)[None], 1.0), aspect="auto", extent=(-1, 1, 0, 1))
    page.text(MARGIN, 0.24, amount(-limit, limit), SMALL, colour=page.soft)
    page.text(MARGIN + 1.6, 0.24, "0", SMALL, colour=page.soft, ha="center")
    page.text(MARGIN + 3.2, 0.24, amount(limit, limit), SMALL, colour=page.soft, ha="right")
    page.text(MARGIN + 3.35, 0.065, "contribution to the score", SMALL, colour=page.soft)
    page.y += 0.3
