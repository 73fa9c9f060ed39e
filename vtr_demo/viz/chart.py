"""Contributions as grids: words by frames, and the two sides of the concept allocation.

Each ``draw_...`` puts one chart at the cursor of a ``Sheet`` and moves the cursor below it. Cells
hold sums of the summands of the score.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vtr_demo.viz.bar import SMALL, TEXT, amount, on_panel, require_shape, time_label
from vtr_demo.viz.overlays import NEGATIVE, POSITIVE, concept_colour, finite, tint
from vtr_demo.viz.sheet import Sheet, fitted, ink_on, text_width

_ROW, _TALL_ROW = 0.27, 0.36
_NARROW = 0.12
_MARGINAL = 1.75
"""Inches for the bars and numbers beside a grid."""


# --------------------------------------------------------------------------- words and frames
def draw_word_frames(
    sheet: Sheet,
    heat: np.ndarray,
    words: Sequence[str],
    seconds: Sequence[float],
    value_range: tuple[float, float],
    *,
    frames: np.ndarray | None = None,
) -> None:
    """Words by frames: heat (1+W, T), word 0 for the whole sentence; frames (T, H, W, 3) on top.

    The bars at the right add up each row, the bars below add up each column.
    """
    require_shape(heat, (len(words), len(seconds)))
    label = _label_width(words, 1.7)
    grid_x, cell = _columns(sheet, label, len(seconds), 0.75)
    if frames is not None:
        _thumbnails(sheet, grid_x, cell, frames)
    totals = heat.sum(axis=1)
    colours = on_panel(sheet, tint(heat, value_range))
    for row, word in enumerate(words):
        middle = sheet.y + _ROW / 2
        colour = sheet.theme.soft if row == 0 else sheet.theme.ink
        sheet.text(grid_x - 0.1, middle, fitted(word, TEXT, label), TEXT, colour=colour, align="right")
        _cells(sheet, grid_x, cell, colours[row])
        _signed_bar(sheet, grid_x + len(seconds) * cell + 0.15, middle, totals, row)
        sheet.y += _ROW
    _column_bars(sheet, grid_x, cell, heat.sum(axis=0))
    _time_axis(sheet, grid_x, cell, seconds)


# --------------------------------------------------------------------------- concepts
def draw_concept_words(
    sheet: Sheet,
    word_concept: np.ndarray,
    strength: np.ndarray,
    words: Sequence[str],
    concept_count: int,
    *,
    names: Sequence[str] | None = None,
) -> None:
    """The Discrete Concept Allocation Matrix of a sentence: words by concepts (S2CA).

    word_concept (1+W,) is the concept of each word, -1 for none; strength (1+W,) what the word adds
    to the score through it, drawn as a bar in the concept's colour.
    """
    require_shape(word_concept, (len(words),))
    require_shape(strength, (len(words),))
    label = _label_width(words, 1.7)
    grid_x, cell = _columns(sheet, label, concept_count, 0.36)
    _concept_header(sheet, grid_x, cell, concept_count, names)
    finite(strength)
    for row, (word, concept) in enumerate(zip(words, word_concept.tolist(), strict=True)):
        middle = sheet.y + _ROW / 2
        colour = sheet.theme.soft if row == 0 or concept < 0 else sheet.theme.ink
        sheet.text(grid_x - 0.1, middle, fitted(word, TEXT, label), TEXT, colour=colour, align="right")
        for column in range(concept_count):
            held = column == concept
            fill = concept_colour(column) if held else sheet.theme.panel
            sheet.box(grid_x + column * cell, sheet.y, 0.94 * cell, 0.92 * _ROW, fill, round_=0.03)
        if concept >= 0:
            x = grid_x + concept_count * cell + 0.15
            _signed_bar(sheet, x, middle, strength, row, colour=concept_colour(concept))
        sheet.y += _ROW


def draw_concept_frames(
    sheet: Sheet,
    patch_concept: np.ndarray,
    seconds: Sequence[float],
    *,
    names: Sequence[str] | None = None,
    frames: np.ndarray | None = None,
) -> None:
    """Concepts by frames: how much of each frame's patches a concept holds.

    patch_concept (T, P) holds concept numbers, -1 for none. A full cell is a whole frame. Concepts
    that hold nothing are left out; the largest comes first.
    """
    require_shape(patch_concept, (len(seconds), patch_concept.shape[-1]))
    share, concepts = concept_shares(patch_concept)
    labels = [concept_label(concept, names) for concept in concepts]
    label = _label_width(labels, 1.7, extra=0.3)
    grid_x, cell = _columns(sheet, label, len(seconds), 0.75)
    if frames is not None:
        _thumbnails(sheet, grid_x, cell, frames)
    for row, concept in enumerate(concepts):
        colour, height = concept_colour(concept), 0.92 * _TALL_ROW
        _concept_label(sheet, grid_x - 0.1, sheet.y + _TALL_ROW / 2, concept, labels[row], room=label)
        for column in range(len(seconds)):
            x, part = grid_x + column * cell, height * float(share[row, column])
            sheet.box(x, sheet.y, _bar_width(cell), height, sheet.theme.panel)
            sheet.box(x, sheet.y + height - part, _bar_width(cell), part, colour)
        x = grid_x + len(seconds) * cell + 0.15
        sheet.text(x, sheet.y + _TALL_ROW / 2, f"{share[row].mean():.0%}", SMALL, colour=sheet.theme.soft)
        sheet.y += _TALL_ROW
    _time_axis(sheet, grid_x, cell, seconds)


def concept_shares(patch_concept: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Shares (C, T) of each frame's patches by concept, and the C concepts, the largest first."""
    concepts = [int(concept) for concept in np.unique(patch_concept) if concept >= 0]
    share = np.array([(patch_concept == concept).mean(axis=1) for concept in concepts])
    share = share.reshape(len(concepts), len(patch_concept))
    order = np.argsort(-share.mean(axis=1), kind="stable")
    return share[order], [concepts[index] for index in order]


def concept_label(concept: int, names: Sequence[str] | None) -> str:
    """The name of a concept, or its number where it has none."""
    return names[concept] if names and names[concept] else f"concept {concept}"


# --------------------------------------------------------------------------- parts of a grid
def _label_width(labels: Sequence[str], most: float, extra: float = 0.0) -> float:
    return min(most, max((text_width(label, TEXT) for label in labels), default=0.0) + 0.02) + extra


def _columns(sheet: Sheet, label: float, count: int, widest: float) -> tuple[float, float]:
    """Where the columns begin and how wide each is, so that labels and bars fit beside them."""
    start = sheet.left + label + 0.1
    return start, min(widest, (sheet.right - _MARGINAL - start) / max(count, 1))


def _cells(sheet: Sheet, x: float, cell: float, colours: np.ndarray) -> None:
    """One row of cells in ``colours`` (T, 3); where they are narrow, as one stripe without gaps."""
    height = 0.92 * _ROW
    if cell < _NARROW:
        stripe = (colours[None] * 255).round().astype(np.uint8)
        sheet.image(x, sheet.y, len(colours) * cell, height, stripe, smooth=False)
        return
    for column, colour in enumerate(colours):
        sheet.box(x + column * cell, sheet.y, 0.94 * cell, height, colour, round_=0.03)


def _bar_width(cell: float) -> float:
    """Narrow bars touch: a gap would be thinner than a pixel."""
    return 0.94 * cell if cell >= _NARROW else cell + 0.005


def _thumbnails(sheet: Sheet, x: float, cell: float, frames: np.ndarray) -> None:
    """The frame of each column above it, or of every few columns where they are narrow."""
    every = max(1, int(np.ceil(0.42 / cell)))
    width = 0.94 * cell * every if every > 1 else 0.94 * cell
    height = width * frames.shape[1] / frames.shape[2]
    for column in range(0, len(frames), every):
        visible = min(width, (len(frames) - column) * cell)
        kept = max(1, round(frames.shape[2] * visible / width))
        sheet.image(x + column * cell, sheet.y, visible, height, frames[column][:, :kept])
    sheet.y += height + 0.06


def _signed_bar(
    sheet: Sheet, x: float, middle: float, values: np.ndarray, row: int, *, colour: str | None = None
) -> None:
    """One of ``values`` as a bar to the left or right of zero, and as a number."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    value, room = float(values[row]), _MARGINAL - 0.85
    unit = room / (high - low) if high > low else 0.0
    zero = x - low * unit
    fill = colour or (POSITIVE if value >= 0 else NEGATIVE)
    sheet.box(zero + min(0.0, value) * unit, middle - 0.06, abs(value) * unit, 0.12, fill)
    sheet.line(zero, middle - _ROW / 2, zero, middle + _ROW / 2)
    sheet.text(x + room + 0.1, middle, amount(value, max(-low, high)), SMALL, colour=sheet.theme.soft)


def _column_bars(sheet: Sheet, x: float, cell: float, totals: np.ndarray) -> None:
    """The sum of each column as a bar below it."""
    low, high, height = min(0.0, float(totals.min())), max(0.0, float(totals.max())), 0.38
    unit = height / (high - low) if high > low else 0.0
    zero = sheet.y + 0.06 + high * unit
    for column, total in enumerate(totals.tolist()):
        fill = POSITIVE if total >= 0 else NEGATIVE
        sheet.box(x + column * cell, zero - max(0.0, total) * unit, _bar_width(cell), abs(total) * unit, fill)
    sheet.line(x, zero, x + len(totals) * cell - 0.06 * cell, zero)
    sheet.text(
        x - 0.1, sheet.y + 0.06 + height / 2, "all words", SMALL, colour=sheet.theme.soft, align="right"
    )
    sheet.y += height + 0.08


def _time_axis(sheet: Sheet, x: float, cell: float, seconds: Sequence[float]) -> None:
    every = max(1, int(np.ceil(0.5 / cell)))
    for column in range(0, len(seconds), every):
        label = time_label(float(seconds[column]))
        sheet.text(
            x + (column + 0.47) * cell, sheet.y + 0.09, label, SMALL, colour=sheet.theme.soft, align="center"
        )
    sheet.y += 0.2


def _concept_header(sheet: Sheet, x: float, cell: float, count: int, names: Sequence[str] | None) -> None:
    """The number of each concept in its colour, its name slanting above."""
    size = min(SMALL, 60 * cell)
    if names:
        shown = [fitted(name, SMALL, 1.5) for name in names[:count]]
        sheet.y += max((text_width(name, SMALL) for name in shown), default=0.0) * 0.72 + 0.1
        for column, name in enumerate(shown):
            sheet.text(x + (column + 0.5) * cell, sheet.y - 0.05, name, SMALL, rotation=45)
    for column in range(count):
        fill = concept_colour(column)
        sheet.box(x + column * cell, sheet.y, 0.94 * cell, 0.19, fill, round_=0.05)
        number = (x + (column + 0.47) * cell, sheet.y + 0.09)
        sheet.text(*number, str(column + 1), size, colour=ink_on(fill), align="center", bold=True)
    sheet.y += 0.25


def _concept_label(
    sheet: Sheet, right: float, middle: float, concept: int, label: str, *, room: float
) -> None:
    """A concept's name, then its number in its colour."""
    fill = concept_colour(concept)
    sheet.box(right - 0.24, middle - 0.09, 0.24, 0.18, fill, round_=0.05)
    sheet.text(right - 0.12, middle, str(concept + 1), SMALL, colour=ink_on(fill), align="center", bold=True)
    sheet.text(right - 0.3, middle, fitted(label, TEXT, room - 0.3), TEXT, align="right")
