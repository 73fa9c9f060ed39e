"""Whole pictures: one chart each, and the page that explains why a sentence and a clip match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vtr_demo.results import Explanation
from vtr_demo.structures import Alignment
from vtr_demo.viz import overlays
from vtr_demo.viz.bar import (
    SMALL,
    TEXT,
    amount,
    draw_legend,
    draw_terms,
    draw_timeline,
    draw_words,
    time_label,
)
from vtr_demo.viz.chart import draw_concept_frames, draw_concept_words, draw_word_frames
from vtr_demo.viz.sheet import Sheet, ThemeName, wrapped

_WIDTH, _MOST_FRAMES = 10.0, 24
_NOTE = (
    "The parts add up to the score. They are attributed to the tokens that the towers hand over; "
    "within a tower, neighbouring words and patches have already seen each other."
)


def word_frame_grid(
    heat: np.ndarray,
    words: Sequence[str],
    seconds: Sequence[float],
    value_range: tuple[float, float],
    *,
    frames: np.ndarray | None = None,
    theme: ThemeName = "light",
) -> np.ndarray:
    """Words by frames with its legend, as (H, W, 3) uint8; arguments as ``draw_word_frames``."""
    sheet = Sheet(_WIDTH, theme)
    draw_word_frames(sheet, heat, words, seconds, value_range, frames=frames)
    sheet.y += 0.2
    draw_legend(sheet, value_range)
    return sheet.finish()


def concept_words_grid(
    word_concept: np.ndarray,
    strength: np.ndarray,
    words: Sequence[str],
    concept_count: int,
    *,
    names: Sequence[str] | None = None,
    theme: ThemeName = "light",
) -> np.ndarray:
    """Words by concepts, as (H, W, 3) uint8; arguments as ``draw_concept_words``."""
    sheet = Sheet(_WIDTH, theme)
    draw_concept_words(sheet, word_concept, strength, words, concept_count, names=names)
    return sheet.finish()


def concept_frames_grid(
    patch_concept: np.ndarray,
    seconds: Sequence[float],
    *,
    names: Sequence[str] | None = None,
    frames: np.ndarray | None = None,
    theme: ThemeName = "light",
) -> np.ndarray:
    """Concepts by frames, as (H, W, 3) uint8; arguments as ``draw_concept_frames``."""
    sheet = Sheet(_WIDTH, theme)
    draw_concept_frames(sheet, patch_concept, seconds, names=names, frames=frames)
    return sheet.finish()


def timeline_strip(
    values: np.ndarray,
    seconds: Sequence[float],
    duration_s: float,
    value_range: tuple[float, float],
    *,
    frames: np.ndarray | None = None,
    theme: ThemeName = "light",
) -> np.ndarray:
    """What each moment adds along the clip, as (H, W, 3) uint8; arguments as ``draw_timeline``."""
    sheet = Sheet(_WIDTH, theme, margin=0.12)
    draw_timeline(sheet, values, seconds, duration_s, value_range, frames=frames)
    return sheet.finish()


def legend(value_range: tuple[float, float], *, theme: ThemeName = "light") -> np.ndarray:
    """The colour scale of all heat maps, as (H, W, 3) uint8."""
    sheet = Sheet(5.2, theme, margin=0.12)
    draw_legend(sheet, value_range)
    return sheet.finish()


def explanation_figure(
    alignment: Alignment,
    frames: np.ndarray,
    *,
    sentence: str,
    clip: str = "",
    concept_names: Sequence[str] | None = None,
    theme: ThemeName = "light",
) -> np.ndarray:
    """Why a sentence and a clip match, on one page, as (H, W, 3) uint8.

    frames (T, S, S, 3) uint8 are the pixels the model saw; ``clip`` is what to call the clip.
    """
    page = explanation_sheet(
        alignment, frames, sentence=sentence, clip=clip, concept_names=concept_names, theme=theme
    )
    return page.finish()


def explanation_sheet(
    alignment: Alignment,
    frames: np.ndarray,
    *,
    sentence: str,
    clip: str = "",
    concept_names: Sequence[str] | None = None,
    theme: ThemeName = "light",
) -> Sheet:
    """The page of ``explanation_figure`` before it is finished, to draw more below it."""
    sheet = Sheet(_WIDTH, theme, margin=0.4)
    _head(sheet, alignment, sentence, clip)
    grid = overlays.word_frame_heat(alignment)
    totals = grid.sum(axis=1)
    _section(sheet, "Words", "what each word adds")
    draw_words(sheet, alignment.words, totals, overlays.shared_range([totals]))
    _frames(sheet, alignment, frames)
    _section(sheet, "Words and frames", "what each word and frame add together")
    grid_range = overlays.shared_range([grid])
    draw_word_frames(sheet, grid, alignment.words, alignment.seconds.tolist(), grid_range, frames=frames)
    sheet.y += 0.16
    draw_legend(sheet, grid_range)
    _concepts(sheet, alignment, frames, concept_names)
    sheet.y += 0.3
    for line in wrapped(_NOTE, SMALL, sheet.inner, 3):
        sheet.text(sheet.left, sheet.y, line, SMALL, colour=sheet.theme.soft)
        sheet.y += 0.16
    return sheet


def _head(sheet: Sheet, alignment: Alignment, sentence: str, clip: str) -> None:
    """The sentence, the clip, the score and its terms."""
    count, first, last = len(alignment.seconds), *(time_label(float(alignment.seconds[i])) for i in (0, -1))
    where = f"{count} frames from {first} to {last}" if count > 1 else f"one frame at {first}"
    sheet.text(sheet.right, sheet.y + 0.12, f"{alignment.score:.3f}", 22, align="right", bold=True)
    sheet.text(sheet.right, sheet.y + 0.42, "score", TEXT, colour=sheet.theme.soft, align="right")
    for line in wrapped(f"“{sentence}”", 15, sheet.inner - 1.5, 3, bold=True):
        sheet.text(sheet.left, sheet.y + 0.12, line, 15, bold=True)
        sheet.y += 0.3
    for line in wrapped(f"{clip}  ·  {where}" if clip else where, TEXT, sheet.inner - 1.5, 1):
        sheet.text(sheet.left, sheet.y + 0.08, line, TEXT, colour=sheet.theme.soft)
    sheet.y += 0.44
    draw_terms(sheet, alignment.terms())


def _section(sheet: Sheet, title: str, about: str) -> None:
    sheet.y += 0.36
    sheet.text(sheet.left, sheet.y, title, 11, bold=True)
    sheet.y += 0.2
    sheet.text(sheet.left, sheet.y, about, SMALL, colour=sheet.theme.soft)
    sheet.y += 0.18


def _frames(sheet: Sheet, alignment: Alignment, frames: np.ndarray) -> None:
    """Every frame under its heat map, at most six to a row, with what its patches and its summary add."""
    heat, whole = overlays.patch_heat(alignment), overlays.whole_frame_heat(alignment)
    value_range = overlays.shared_range([heat])
    largest = float(np.abs([*heat.sum(axis=(1, 2)), *whole]).max())
    shown = np.unique(np.linspace(0, len(frames) - 1, min(_MOST_FRAMES, len(frames))).round().astype(int))
    left_out = f" ({len(shown)} of {len(frames)} frames)" if len(shown) < len(frames) else ""
    about = f"where in each frame{left_out}; what a whole frame's summary adds lies nowhere in the picture"
    _section(sheet, "Picture", about)
    rows = -(-len(shown) // 6)
    columns = max(4, -(-len(shown) // rows))
    width = (sheet.inner - 0.1 * (columns - 1)) / columns
    height = width * frames.shape[1] / frames.shape[2]
    for place, index in enumerate(shown.tolist()):
        x = sheet.left + place % columns * (width + 0.1)
        sheet.image(x, sheet.y, width, height, overlays.overlay(frames[index], heat[index], value_range))
        caption, below = sheet.y + height + 0.1, f"patches {amount(float(heat[index].sum()), largest)}"
        sheet.text(x, caption, time_label(float(alignment.seconds[index])), SMALL, bold=True)
        sheet.text(x + width, caption, below, SMALL, colour=sheet.theme.soft, align="right")
        summary = f"whole frame {amount(float(whole[index]), largest)}"
        sheet.text(x + width, caption + 0.14, summary, SMALL, colour=sheet.theme.soft, align="right")
        if place % columns == columns - 1 or place == len(shown) - 1:
            sheet.y += height + 0.38
    draw_legend(sheet, value_range)


def _concepts(sheet: Sheet, alignment: Alignment, frames: np.ndarray, names: Sequence[str] | None) -> None:
    """Both sides of the concept allocation."""
    strength = alignment.concept_terms.sum(axis=(1, 2))
    _section(sheet, "Concepts in the sentence", "the concept of each word, and what it adds through it")
    draw_concept_words(
        sheet, alignment.word_concept, strength, alignment.words, alignment.concept_count, names=names
    )
    _section(sheet, "Concepts in the picture", "the share of each frame's patches that a concept holds")
    patches = alignment.patch_concept[:, 1:]
    draw_concept_frames(sheet, patches, alignment.seconds.tolist(), names=names, frames=frames)
    width = (sheet.inner - 0.1 * 5) / 6
    height = width * frames.shape[1] / frames.shape[2]
    sheet.y += 0.15
    for column, index in enumerate(np.linspace(0, len(frames) - 1, min(6, len(frames))).round().astype(int)):
        painted = overlays.concept_overlay(frames[index], patches[index].reshape(alignment.grid))
        sheet.image(sheet.left + column * (width + 0.1), sheet.y, width, height, painted)
    sheet.y += height


def match_json(why: Explanation, clip_name: str) -> dict[str, Any]:
    """An explanation as plain JSON values; ``adds`` of the words and of the frames each sum to the score."""
    made = why.alignment
    by_word = overlays.word_parts(made)
    by_frame = overlays.picked(made, "total").sum(axis=1)
    words = [
        {"word": word, "adds": float(by_word[i]), "concept": _concept(why, int(made.word_concept[i]))}
        | ({"without_it": -float(why.word_effects[i - 1])} if 0 < i <= len(why.word_effects) else {})
        for i, word in enumerate(made.words)
    ]
    frames = [
        {"second": float(s), "adds": float(value)} for s, value in zip(made.seconds, by_frame, strict=True)
    ]
    concepts = zip(why.concept_names, made.by_concept(), strict=True)
    return {
        "id": why.clip_id,
        "name": clip_name,
        "score": float(made.score),
        "terms": made.terms(),
        "gates": {level: float(gate) for level, gate in why.gates.items()},
        "words": words,
        "frames": frames,
        "concepts": {name: float(value) for name, value in concepts},
    }


def _concept(why: Explanation, concept: int) -> str | None:
    return why.concept_names[concept] if concept >= 0 else None
